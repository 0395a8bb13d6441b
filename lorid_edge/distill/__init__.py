"""Distilling: a teacher's knowledge for a data set, and a model's own correct chains."""
