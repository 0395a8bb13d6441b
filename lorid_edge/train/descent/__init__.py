"""Gradient descent on one adapter: base, decoder, loss, batches, checkpoints and the loop."""
