"""Publish, list, describe, compare and delete versions of datasets."""
