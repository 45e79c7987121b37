"""Train on a TPU, whose embedding cores look up and update the large tables."""
