"""Turn text into its runs of neighbouring words or characters.

Hashed into buckets they are a text's features without a vocabulary (the hashing trick: Weinberger et al., 2009); runs
of words keep a little of their order, as in fastText (Joulin et al., 2017).
"""

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock_dataprep.order.hashing import string_buffers
from penstock_dataprep.transforms.base import Rule
from penstock_dataprep.transforms.texts import Pieces, list_tokens, without_empty
from penstock_shared.transforms import NGrams

BETWEEN_WORDS = r"[^\p{L}\p{M}\p{N}]+"


class NGramsRule(NGrams, Rule):
    """Ask for n-grams."""

    takes: ClassVar[tuple[str, ...]] = ("string",)
    makes: ClassVar[str] = "string"
    makes_lists: ClassVar[bool] = True

    def settle(self, measure: Any) -> NGrams:
        """Return the settings."""
        return NGrams(kind="ngrams", of=self.of, n=self.n, lowercase=self.lowercase)


def ngrams(settings: NGrams, texts: pa.Array) -> pa.ListArray:
    """Return the list of each text's n-grams."""
    cut = _words if settings.of == "words" else _characters
    return list_tokens(texts, lambda distinct: cut(_cased(settings, distinct), settings.n))


def _cased(settings: NGrams, texts: pa.Array) -> pa.Array:
    return pc.utf8_lower(texts) if settings.lowercase else texts


def _words(texts: pa.Array, n: int) -> Pieces:
    words, counts = without_empty(pc.split_pattern_regex(texts, BETWEEN_WORDS))
    first, end, runs = _runs(counts, n)
    if n == 1:
        return words, runs
    # Beyond a text's last word there is none, and nothing is joined.
    places = [first + offset for offset in range(n)]
    columns = [words.take(pa.array(np.minimum(place, len(words)), mask=place >= end)) for place in places]
    return pc.binary_join_element_wise(*columns, " ", null_handling="skip"), runs


def _characters(texts: pa.Array, n: int) -> Pieces:
    plain = pc.utf8_trim_whitespace(pc.replace_substring_regex(texts, BETWEEN_WORDS, " "))
    offsets, content = string_buffers(plain)
    # In UTF-8 every byte but a character's first is 10xxxxxx.
    starts = np.append(np.flatnonzero((content & 0xC0) != 0x80), len(content))
    counts = np.diff(np.searchsorted(starts, offsets))
    first, end, runs = _runs(counts, n)
    begins, sizes = starts[first], starts[np.minimum(first + n, end)] - starts[first]
    ends = np.cumsum(sizes)
    taken = content[np.repeat(begins - (ends - sizes), sizes) + np.arange(int(sizes.sum()))]
    buffers = [None, pa.py_buffer(np.append(0, ends)), pa.py_buffer(taken)]
    return pa.LargeStringArray.from_buffers(len(sizes), *buffers[1:]), runs


def _runs(counts: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return, for texts of `counts` items each: (first item, end of the text) of each run, and runs per text."""
    runs = np.maximum(counts - n + 1, np.minimum(counts, 1))
    ends = np.cumsum(counts)
    inside = np.arange(int(runs.sum())) - np.repeat(np.cumsum(runs) - runs, runs)
    return np.repeat(ends - counts, runs) + inside, np.repeat(ends, runs), runs
