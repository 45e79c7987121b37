"""Describe who is in a log: users and items by popularity rank, their ids, tastes, biases and active times.

An item is number `slot * GENERATIONS + generation`: slots are ranked by popularity, and from half of them the item
is pushed out, twice in the log, by a newer one.
"""

from dataclasses import dataclass

import numpy as np

from penstock_dataprep.generate.draws import directions, normal, pick, sparse_ids, uniform, words, zipf_rank

TASTES = 20

USER_EXPONENT, USER_HEAD = 0.8, 50.0
ITEM_EXPONENT, ITEM_HEAD = 1.0, 20.0  # a head is the ranks over which the law is flattened, as in every real log

TIME_STEPS = 512
USER_COHORTS = 64
COHORT_SLOTS = 2048
LASTING_SHARE = 0.4  # of user cohorts stay for the whole log

GENERATIONS = 3
LIFETIMES = 2.0  # of an item that is pushed out, in the time of the log
HANDOVER = 0.2  # of a lifetime in which both the old and the new item are chosen


@dataclass(frozen=True)
class Group:
    """Hold one kind of entity, users or item slots, ranked by popularity and dealt round-robin into `classes`.

    Class c holds ranks c, c + classes, c + 2 * classes, ...: every class has the same popularity curve.
    """

    seed: int
    kind: str
    size: int
    exponent: float
    head: float
    classes: int

    def rank(self, position: np.ndarray, cls: np.ndarray) -> np.ndarray:
        """Return the popularity rank (0 is the most popular) at a uniform `position` of each row's class."""
        members = (self.size - cls + self.classes - 1) // self.classes
        # Half a rank less, for a rank's share is the curve's integral over one rank around it.
        offset = np.maximum((cls + self.head) / self.classes - 0.5, 0.1)
        return cls + zipf_rank(position, members, self.exponent, offset) * self.classes

    def ids(self, number: np.ndarray) -> np.ndarray:
        """Return the sparse 63-bit id of each user or item."""
        return sparse_ids(self.seed, f"{self.kind} id", number)

    def bias(self, number: np.ndarray) -> np.ndarray:
        """Return how much higher than the mean each one rates or is rated, mean 0 and variance 1."""
        return normal(words(self.seed, f"{self.kind} bias", number))

    def character(self, number: np.ndarray) -> np.ndarray:
        """Return [n, 8] coordinates of mean 0 and variance 1 that tell members of one taste apart."""
        return directions(words(self.seed, f"{self.kind} character", number))


@dataclass(frozen=True)
class Population:
    """Hold users, items and tastes, and which user cohorts are around when.

    `user_slots` is [TIME_STEPS, COHORT_SLOTS] cohort numbers: a row picks one slot of its time step, so a cohort's
    share of the slots is its share of the rows. `centres` is [tastes, 8] float32 of unit length.
    """

    seed: int
    users: Group
    items: Group
    replaced_slots: int
    tastes: int
    centres: np.ndarray
    user_slots: np.ndarray

    def main_taste(self, user: np.ndarray) -> np.ndarray:
        """Return the taste each user likes best."""
        return pick(words(self.seed, "user taste", user), self.tastes)

    def second_taste(self, user: np.ndarray) -> np.ndarray:
        """Return the taste each user likes next (now and then the same again)."""
        return pick(words(self.seed, "user taste", user), self.tastes, low_bit=16)

    def item_taste(self, item: np.ndarray) -> np.ndarray:
        """Return the taste each item belongs to."""
        return item // GENERATIONS % self.tastes

    def item_in(self, slot: np.ndarray, time: np.ndarray, position: np.ndarray) -> np.ndarray:
        """Return the item in each slot at a time in [0, 1); `position`, uniform, settles who is it in a handover."""
        phase = uniform(words(self.seed, "item phase", slot))
        generation = (time * LIFETIMES + phase * (1 - HANDOVER) + position * HANDOVER).astype(np.int64)
        replaced = (slot % 2 == 1) & (slot // 2 < self.replaced_slots)
        return slot * GENERATIONS + np.where(replaced, generation, 0)


def populate(users: int, items: int, seed: int) -> Population:
    """Return the population of a log; small ones have fewer tastes and cohorts, so that each still has members."""
    replaced_slots = items // (GENERATIONS + 1)
    slots = items - replaced_slots * (GENERATIONS - 1)
    tastes = min(TASTES, max(1, slots // 10))
    cohorts = min(USER_COHORTS, max(1, users // 4))
    centres = directions(words(seed, "taste centre", np.arange(tastes)))
    return Population(
        seed=seed,
        users=Group(seed, "user", users, USER_EXPONENT, USER_HEAD, cohorts),
        items=Group(seed, "item", slots, ITEM_EXPONENT, ITEM_HEAD, tastes),
        replaced_slots=replaced_slots,
        tastes=tastes,
        centres=centres / np.linalg.norm(centres, axis=1, keepdims=True),
        user_slots=_slots(_user_activity(cohorts, seed)),
    )


def _user_activity(cohorts: int, seed: int) -> np.ndarray:
    """Return weights [TIME_STEPS, cohorts]: some stay throughout, others come and go over 30 to 70 % of the time."""
    time = np.arange(TIME_STEPS)[:, None] / TIME_STEPS
    draw = words(seed, "user cohort", np.arange(cohorts))
    start = -0.3 + 1.2 * pick(draw, 2**11) / 2**11
    length = 0.3 + 0.4 * pick(draw, 2**11, low_bit=16) / 2**11
    lasting = np.arange(cohorts) < max(1, round(LASTING_SHARE * cohorts))
    return np.where(lasting, 1.0, (time >= start) & (time < start + length))


def _slots(weights: np.ndarray) -> np.ndarray:
    """Return [TIME_STEPS, COHORT_SLOTS] cohort numbers, as many of each as its weight's share."""
    ends = np.cumsum(weights, axis=1) / weights.sum(axis=1, keepdims=True)
    middles = (np.arange(COHORT_SLOTS) + 0.5) / COHORT_SLOTS
    return np.stack([np.searchsorted(row, middles, side="right") for row in ends]).astype(np.uint8)
