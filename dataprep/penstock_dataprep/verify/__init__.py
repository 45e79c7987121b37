"""Read every byte of a dataset and recompute what its manifest claims."""
