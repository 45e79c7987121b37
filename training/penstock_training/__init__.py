"""Train recommenders from penstock datasets: fit, evaluate, export, recommend."""

import os

# All must be in place before TensorFlow is first imported, and this file runs before any module that imports it.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# Of a file in a bucket, TensorFlow fetches this much for any smaller piece asked for (64 MiB, if not told), and a
# larger piece exactly. A shard's blocks are read one at a time, in no order.
os.environ.setdefault("GCS_READAHEAD_BUFFER_SIZE_BYTES", str(256 << 10))

__version__ = "0.1.0"
