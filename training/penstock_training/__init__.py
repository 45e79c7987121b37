"""Train recommenders from penstock datasets: fit, evaluate, export, recommend."""

import os

# Both must be in place before TensorFlow is first imported, and this file runs before any module that imports it.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

__version__ = "0.1.0"
