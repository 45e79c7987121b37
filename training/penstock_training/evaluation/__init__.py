"""Rank all items for users, and judge what comes first next to baselines."""
