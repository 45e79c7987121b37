"""Make embedding tables too large to be held twice, and keep them in checkpoints."""
