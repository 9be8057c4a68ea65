"""The cleaned data set: what was kept, as it was."""
