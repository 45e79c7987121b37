"""Carry rows from the source to shards: validate, stage, transform, map."""
