"""Data sets: records of problems, their splits, and the wall between training and testing."""
