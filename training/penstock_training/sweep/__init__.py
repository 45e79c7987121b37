"""Search over a recipe: train it with many settings, each a run of its own, and say which is best."""
