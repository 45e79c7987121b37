"""Look at a few rows of a BigQuery table before any dataset exists: `penstock-train peek`."""
