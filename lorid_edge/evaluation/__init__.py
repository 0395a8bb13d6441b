"""What a pack is worth: accuracy on data sets, with its uncertainty and its cost."""
