"""Make rows of a log: who did what, when, and how they rated it.

- Popularity: users follow Zipf's law with exponent 0.8, items with 1.0, both flattened at the head.
- Taste: each item has one of 20 tastes. A user has a main and a second taste and, in each twelfth of the time, is in
  the mood for one of them or, more rarely, for any other; nine rows in ten follow the mood.
- Ratings: mean + user bias + item bias + taste match + noise, in halves from 0.5 to 5.
- Time: rows are in order of time up to a day's jitter. Users come and go; half of the items are pushed out by new ones.
- Faults of a real log: about 0.1 % of ratings are null and about 0.1 % of rows repeat an earlier row exactly.
"""

from dataclasses import dataclass

import numpy as np

from penstock_dataprep.generate.draws import normal, pick, uniform, words
from penstock_dataprep.generate.population import COHORT_SLOTS, TIME_STEPS, Population

EPOCH_SECONDS = 1_500_000_000
SPAN_SECONDS = 100_000_000
JITTER_SECONDS = 86_400

MOODS = 12
MOOD_SHARES = {"main": 0.65, "second": 0.25}  # the rest is any taste
MOOD_FOLLOWED = 0.9

MEAN_RATING = 3.4
USER_BIAS_STD, ITEM_BIAS_STD, NOISE_STD = 0.35, 0.35, 0.5
TASTE_WEIGHT = 1.3
MAIN_WEIGHT, SECOND_WEIGHT, CHARACTER_WEIGHT = 0.8, 0.5, 0.25

ONE_IN_A_THOUSAND = 2**64 // 1000
REPEAT_REACH_ROWS = 1024


@dataclass(frozen=True)
class Events:
    """Hold rows: the numbers of users and items, float32 ratings with `rated` false where null, int64 unix seconds."""

    user: np.ndarray
    item: np.ndarray
    rating: np.ndarray
    rated: np.ndarray
    timestamp: np.ndarray


def make_events(population: Population, start: int, stop: int, rows: int) -> Events:
    """Return rows `start` to `stop` of a log of `rows` rows; a pure function of the population, the row and `rows`."""
    index = _repeat(np.arange(start, stop, dtype=np.int64), population.seed)
    time = index / rows
    user = _choose_user(population, index, time)
    item = _choose_item(population, index, time, user)
    when = words(population.seed, "when", index)
    return Events(
        user=user,
        item=item,
        rating=_rate(population, index, user, item),
        rated=words(population.seed, "null rating", index) >= ONE_IN_A_THOUSAND,
        timestamp=EPOCH_SECONDS + (time * SPAN_SECONDS).astype(np.int64) + pick(when, JITTER_SECONDS, bits=32),
    )


def _repeat(index: np.ndarray, seed: int) -> np.ndarray:
    """Return the rows' indices, one in a thousand replaced by that of an earlier row, whose exact copy it becomes."""
    draw = words(seed, "repeat", index)
    repeats = np.flatnonzero(draw < ONE_IN_A_THOUSAND)
    back = 1 + pick(words(seed, "repeat of", index[repeats]), REPEAT_REACH_ROWS)
    index[repeats] = np.maximum(index[repeats] - back, 0)
    return index


def _choose_user(population: Population, index: np.ndarray, time: np.ndarray) -> np.ndarray:
    draw = words(population.seed, "user", index)
    cohort = population.user_slots[(time * TIME_STEPS).astype(np.int64), pick(draw, COHORT_SLOTS)].astype(np.int64)
    return population.users.rank(uniform(draw), cohort)


def _choose_item(population: Population, index: np.ndarray, time: np.ndarray, user: np.ndarray) -> np.ndarray:
    draw = words(population.seed, "item", index)
    slot = population.items.rank(uniform(draw), _choose_taste(population, index, time, user))
    return population.item_in(slot, time, uniform(words(population.seed, "item generation", index)))


def _choose_taste(population: Population, index: np.ndarray, time: np.ndarray, user: np.ndarray) -> np.ndarray:
    period = (time * MOODS).astype(np.int64)
    mood_draw = words(population.seed, "mood", user * MOODS + period)
    mood = uniform(mood_draw)
    wanted = pick(mood_draw, population.tastes)
    wanted = np.where(mood < sum(MOOD_SHARES.values()), population.second_taste(user), wanted)
    wanted = np.where(mood < MOOD_SHARES["main"], population.main_taste(user), wanted)
    row_draw = words(population.seed, "follow mood", index)
    return np.where(uniform(row_draw) < MOOD_FOLLOWED, wanted, pick(row_draw, population.tastes))


def _rate(population: Population, index: np.ndarray, user: np.ndarray, item: np.ndarray) -> np.ndarray:
    centres, users, items = population.centres, population.users, population.items
    liking = MAIN_WEIGHT * centres[population.main_taste(user)]
    liking += SECOND_WEIGHT * centres[population.second_taste(user)]
    liking += CHARACTER_WEIGHT * users.character(user)
    nature = centres[population.item_taste(item)] + CHARACTER_WEIGHT * items.character(item)
    rating = MEAN_RATING - TASTE_WEIGHT * (MAIN_WEIGHT + SECOND_WEIGHT) / 3
    rating = rating + TASTE_WEIGHT * np.einsum("nd,nd->n", liking, nature)
    rating += USER_BIAS_STD * users.bias(user) + ITEM_BIAS_STD * items.bias(item)
    rating += NOISE_STD * normal(words(population.seed, "rating noise", index))
    return np.clip(np.rint(rating * 2) / 2, 0.5, 5.0).astype(np.float32)
