"""Prepare datasets: interaction logs in, vocab-mapped, shuffled, sharded TFRecords with a manifest out."""

__version__ = "0.1.0"
