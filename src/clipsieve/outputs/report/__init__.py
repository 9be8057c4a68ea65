"""The report: what was found in a data set, for people and for machines."""
