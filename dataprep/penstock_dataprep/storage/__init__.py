"""Read and write files, on disks and in buckets, and keep what a build needs between its steps."""
