"""Reckon how many ids of a batch one SparseCore may ask of another, from how often each id is drawn.

The host refuses a step that asks for more, and XLA is told, for buffers of which it does not say how large they are.
What TensorFlow makes of the ids themselves is in its sparse_core_preprocess_ops.cc and tpu_embedding_v3.py.
"""

from dataclasses import dataclass
from math import ceil, log, sqrt
from typing import Any

import numpy as np
import tensorflow as tf

from penstock_training.optimizers import table_key
from penstock_training.tpu.configs import Lookup
from penstock_training.tpu.draws import Draw

# Of all limits of all steps of a run of a million, none is passed but with this probability.
FAILURE, STEPS = 1e-6, 1e6
ALIGNMENT = 8
# Each id is a sample of its own, and the ids that are asked of a core are padded to the alignment: what is at most
# eight times as long as the ids has room for all of them, so that TensorFlow, which else drops some, drops none.
PLACES_PER_ID = ALIGNMENT
# A place is an int32 sample, an int32 row and a float32 gain; an int32 ends the ids asked of a core, for each of the
# 64 mini-batches that TensorFlow leaves room for.
PLACE_BYTES, END_BYTES, MINIBATCHES = 12, 4, 64


@dataclass(frozen=True)
class Limits:
    """Hold the most ids, and the most different ids, that one SparseCore asks of another for a table in a step.

    `list_bytes` is what the lists of all ids that a chip asks for have room for, in its HBM.
    """

    ids: int
    unique_ids: int
    list_bytes: int


def table_limits(
    lookups: list[Lookup], draws: dict[str, list[Draw]], cores_per_chip: int, chips: int
) -> dict[str, Limits]:
    """Return the limits of each table by name; the `lookups` are a chip's.

    Of a table of which nothing is known, as of attributes, all ids may be one and the same, and all may differ.
    """
    cores, found = cores_per_chip * chips, {}
    for name, table in {table_key(lookup.table): lookup.table for lookup in lookups}.items():
        of_chip = sum(lookup.ids for lookup in lookups if lookup.table is table)
        ids, rows = ceil(of_chip / cores_per_chip), table.shape[0]
        known = name in draws and all(len(draw.shares) == rows for draw in draws[name])
        most, unique = limits(draws[name], ids, cores) if known else (ids, min(ids, ceil(rows / cores)))
        found[name] = Limits(most, unique, _list_bytes(of_chip, cores_per_chip, cores))
    return found


def limits(draws: list[Draw], ids: int, cores: int) -> tuple[int, int]:
    """Return the most ids, and different ids, that a SparseCore that looks up `ids` ids asks of another.

    Row i lies with core i mod `cores`. The number of ids that one of them is asked for is a sum of independent chances:
    it passes its mean m by t with a probability below exp(-t^2 / (2 m + 2 t / 3)) (Bernstein), whatever the skew. So
    does the number of different ones, since each id drawn makes it less likely that others are (negative association).
    """
    rows = len(draws[0].shares)
    expected, log_unseen = np.zeros(rows), np.zeros(rows)
    for draw in draws:
        expected += ids * draw.part * draw.shares
        log_unseen += ids * draw.part * np.log1p(-draw.shares.clip(0, 1 - 1e-12))
    unlikely = log(cores * cores * STEPS / FAILURE)
    most = min(ids, _aligned(_bound(_largest(expected, cores), unlikely)))
    unique = _aligned(_bound(_largest(-np.expm1(log_unseen), cores), unlikely))
    return most, min(most, ceil(rows / cores), unique)


def uneven(lookups: list[Lookup], cores_per_chip: int) -> str | None:
    """Return what TensorFlow cannot divide between the SparseCores of a chip, or None where it can."""
    for lookup in lookups:
        if lookup.ids % cores_per_chip:
            return (
                f"a chip looks up {lookup.ids} ids of {table_key(lookup.table)} at once, which its {cores_per_chip} "
                f"SparseCores cannot share; take a training.batch_rows of which chips get multiples of {cores_per_chip}"
            )
    return None


def sparse_core_config(limits: dict[str, Limits]) -> Any:
    """Return what SparseCores need to know: each table for itself, with room for its ids, none of which is dropped."""
    return tf.tpu.experimental.embedding.SparseCoreEmbeddingConfig(
        disable_table_stacking=True,
        max_ids_per_chip_per_sample=PLACES_PER_ID,
        max_ids_per_table={name: held.ids for name, held in limits.items()},
        max_unique_ids_per_table={name: held.unique_ids for name, held in limits.items()},
        allow_id_dropping=False,
    )


def _largest(expected: np.ndarray, cores: int) -> float:
    of_core = np.bincount(np.arange(len(expected)) % cores, weights=expected, minlength=cores)
    return float(of_core.max())


def _bound(mean: float, unlikely: float) -> float:
    return mean + unlikely / 3 + sqrt(unlikely * unlikely / 9 + 2 * mean * unlikely)


def _aligned(count: float) -> int:
    return ALIGNMENT * ceil(count / ALIGNMENT)


def _list_bytes(ids: int, cores_per_chip: int, cores: int) -> int:
    return ids * PLACES_PER_ID * PLACE_BYTES + MINIBATCHES * cores_per_chip * _aligned(cores) * END_BYTES
