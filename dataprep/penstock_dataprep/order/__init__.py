"""Decide where each row goes: its split, its shard, its place."""
