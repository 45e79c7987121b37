"""Reckon how many ids of a batch one SparseCore may ask of another, from how often each id occurs.

A SparseCore's buffers have room for that many; too little room fails a step, too much takes memory from the tables.
"""

from dataclasses import dataclass
from math import ceil, log, sqrt
from typing import Any

import numpy as np
import tensorflow as tf

from penstock_training.optimizers import table_key
from penstock_training.tpu.configs import Lookup

# Of all limits of all steps of a run of a million, none is passed but with this probability.
FAILURE, STEPS = 1e-6, 1e6
ALIGNMENT = 8


@dataclass(frozen=True)
class Limits:
    """Hold the most ids, and the most different ids, that one SparseCore asks of another in a step."""

    ids: int
    unique_ids: int


def table_limits(
    lookups: list[Lookup], counts: dict[str, np.ndarray], cores_per_chip: int, chips: int
) -> dict[str, Limits]:
    """Return the limits of each table by name; `counts` are those of the ids of a vocabulary's table, float64 [rows].

    The `lookups` are a chip's. Of a table without counts, and so of attributes, all ids may be one and the same.
    """
    found = {}
    for name, table in {table_key(lookup.table): lookup.table for lookup in lookups}.items():
        ids = ceil(sum(lookup.ids for lookup in lookups if lookup.table is table) / cores_per_chip)
        if name not in counts:
            found[name] = Limits(ids, min(ids, table.shape[0]))
            continue
        # Sampled negatives are drawn evenly, which asks no core for more, but for more that differ.
        own, even = (
            limits(counts[name], ids, cores_per_chip * chips),
            limits(np.ones(table.shape[0]), ids, cores_per_chip * chips),
        )
        found[name] = Limits(max(own.ids, even.ids), min(max(own.ids, even.ids), own.unique_ids + even.unique_ids))
    return found


def limits(counts: np.ndarray, ids: int, cores: int) -> Limits:
    """Return the limits where each SparseCore looks up `ids` ids, drawn as often as `counts` [rows] says.

    Row i lies with core i mod `cores`. The number of ids that one of them is asked for is a sum of independent chances:
    it passes its mean m by t with a probability below exp(-t^2 / (2 m + 2 t / 3)) (Bernstein), whatever the skew.
    """
    share = counts / counts.sum()
    seen = -np.expm1(ids * np.log1p(-share.clip(0, 1 - 1e-12)))
    asked, unique = _most(ids * share, cores), _most(seen, cores)
    unlikely = log(cores * cores * STEPS / FAILURE)
    most = min(ids, _aligned(_bound(asked, unlikely)))
    return Limits(most, min(most, ceil(len(counts) / cores), _aligned(_bound(unique, unlikely))))


def sparse_core_config(limits: dict[str, Limits]) -> Any:
    """Return what SparseCores need to know: each table for itself, with room for its ids, none of which is dropped."""
    return tf.tpu.experimental.embedding.SparseCoreEmbeddingConfig(
        disable_table_stacking=True,
        max_ids_per_table={name: held.ids for name, held in limits.items()},
        max_unique_ids_per_table={name: held.unique_ids for name, held in limits.items()},
        allow_id_dropping=False,
    )


def _most(expected: np.ndarray, cores: int) -> float:
    of_core = np.bincount(np.arange(len(expected)) % cores, weights=expected, minlength=cores)
    return float(of_core.max())


def _bound(mean: float, unlikely: float) -> float:
    return mean + unlikely / 3 + sqrt(unlikely * unlikely / 9 + 2 * mean * unlikely)


def _aligned(count: float) -> int:
    return ALIGNMENT * ceil(count / ALIGNMENT)
