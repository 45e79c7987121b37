"""Check a recipe against a TPU that is not there: what it refuses, what it needs, what it would be fed."""
