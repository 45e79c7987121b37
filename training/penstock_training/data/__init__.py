"""Open a dataset, and feed its rows in an order that is a function of manifest, seed and epoch."""
