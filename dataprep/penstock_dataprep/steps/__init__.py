"""Wrap the pure functions of the other modules as steps of the pipeline: (job, element, side inputs) -> outputs."""

from penstock_dataprep.steps import entities, events, intake, shards, splitting, tails, tokens

__all__ = ["entities", "events", "intake", "shards", "splitting", "tails", "tokens"]
