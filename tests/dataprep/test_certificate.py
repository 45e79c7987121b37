"""Hold the shuffle certificate to its purpose: a uniform permutation passes, a broken one does not."""

import numpy as np
import pytest

from penstock_dataprep.order.certificate import LIMIT_Z, Moments, certify

ROWS, SHARDS = 64_000, 16
TIMES = np.sort(np.random.default_rng(5).integers(1_500_000_000, 1_600_000_000, ROWS))


def shards_of(times: np.ndarray, edges: np.ndarray) -> dict[str, list[dict[str, Moments]]]:
    return {"train": [{"time": Moments.of(part, float(times.mean()))} for part in np.split(times, edges)]}


def equal_edges() -> np.ndarray:
    return np.arange(1, SHARDS) * (ROWS // SHARDS)


@pytest.mark.parametrize("seed", range(20))
def test_a_uniform_permutation_passes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    edges = np.cumsum(rng.multinomial(ROWS, [1 / SHARDS] * SHARDS))[:-1]
    certificate = certify(shards_of(rng.permutation(TIMES), edges))
    assert certificate.passes
    assert set(certificate.z["train"]) == {"serial time", "between time", "shard_rows"}


def sorted_rows(rng: np.random.Generator) -> np.ndarray:
    return TIMES


def shuffled_within_shards_only(rng: np.random.Generator) -> np.ndarray:
    return np.concatenate([rng.permutation(part) for part in np.split(TIMES, equal_edges())])


def pairs_kept_together(rng: np.random.Generator) -> np.ndarray:
    return TIMES.reshape(-1, 2)[rng.permutation(ROWS // 2)].reshape(-1)


def sorted_within_shuffled_shards(rng: np.random.Generator) -> np.ndarray:
    return np.concatenate([np.sort(part) for part in np.split(rng.permutation(TIMES), equal_edges())])


@pytest.mark.parametrize(
    ("broken", "caught_by"),
    [
        (sorted_rows, "serial time"),
        (shuffled_within_shards_only, "between time"),
        (pairs_kept_together, "serial time"),
        (sorted_within_shuffled_shards, "serial time"),
    ],
)
def test_a_broken_shuffle_fails(broken, caught_by: str) -> None:
    certificate = certify(shards_of(broken(np.random.default_rng(1)), equal_edges()))
    assert not certificate.passes
    assert abs(certificate.z["train"][caught_by]) > LIMIT_Z


def test_unequal_shards_fail() -> None:
    edges = np.concatenate([[ROWS // 2], ROWS // 2 + np.arange(1, SHARDS - 1) * (ROWS // 2 // SHARDS)])
    certificate = certify(shards_of(np.random.default_rng(2).permutation(TIMES), edges))
    assert not certificate.passes
    assert certificate.z["train"]["shard_rows"] > LIMIT_Z


def test_a_constant_feature_and_a_single_shard_are_left_out() -> None:
    times = np.full(1000, 7)
    certificate = certify({"train": [{"time": Moments.of(times, 7.0)}], "test": []})
    assert certificate.passes
    assert certificate.z == {"train": {}, "test": {}}
