"""Encode rows as records of a shard, and decode them."""
