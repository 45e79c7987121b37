"""Collect the events of a key into lists: each row's history, or sequences."""
