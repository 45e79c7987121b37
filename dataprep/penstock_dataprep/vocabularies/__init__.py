"""Count tokens, rank them, give them ids, and look them up."""
