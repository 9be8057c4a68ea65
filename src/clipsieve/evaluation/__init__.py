"""How good a classifier is, what its thresholds promise, and how much of a data set is unwanted: arrays in, records out."""
