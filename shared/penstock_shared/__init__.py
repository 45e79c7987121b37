"""Hold the dataset contract: what dataprep writes to disk and training reads from it."""

from penstock_shared.errors import DataRefused, PenstockError, UserMistake
from penstock_shared.features import Feature, Statistics
from penstock_shared.layout import Column, RecordLayout
from penstock_shared.manifest import MANIFEST_NAME, Manifest, Table, dump_manifest, load_manifest
from penstock_shared.splits import Shard, Split
from penstock_shared.vocabularies import Vocabulary

__all__ = [
    "MANIFEST_NAME",
    "Column",
    "DataRefused",
    "Feature",
    "Manifest",
    "PenstockError",
    "RecordLayout",
    "Shard",
    "Split",
    "Statistics",
    "Table",
    "UserMistake",
    "Vocabulary",
    "dump_manifest",
    "load_manifest",
]
