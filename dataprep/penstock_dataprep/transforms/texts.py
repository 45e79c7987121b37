"""Turn texts into lists of tokens, each distinct text once."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Pieces = tuple[pa.Array, np.ndarray]  # strings end to end, and how many of them each text has


def list_tokens(texts: pa.Array, cut: Callable[[pa.Array], Pieces]) -> pa.ListArray:
    """Return the list of each text's tokens, as a dictionary's codes; a null text has none.

    `cut` is called once, with the distinct texts, of which a log holds few.
    """
    distinct = texts.dictionary_encode()
    pieces, counts = cut(distinct.dictionary)
    tokens = pieces.dictionary_encode()
    codes = tokens.indices.to_numpy()
    # A null text's code is one past the last.
    text = distinct.indices.fill_null(len(counts)).to_numpy()
    starts, counts = np.append(np.cumsum(counts) - counts, 0), np.append(counts, 0)
    lengths = counts[text]
    ends = np.cumsum(lengths)
    chosen = np.repeat(starts[text] - (ends - lengths), lengths) + np.arange(int(lengths.sum()))
    offsets = np.append(0, ends).astype(np.int32)
    held = pa.DictionaryArray.from_arrays(pa.array(codes[chosen]), tokens.dictionary.cast(pa.string()))
    return pa.ListArray.from_arrays(pa.array(offsets), held)


def without_empty(lists: pa.ListArray) -> Pieces:
    """Return the strings of lists, trimmed of blanks, without those of which nothing is left."""
    pieces = pc.utf8_trim_whitespace(lists.flatten())
    owner = np.repeat(np.arange(len(lists)), pc.list_value_length(lists).to_numpy())
    is_left = pc.greater(pc.binary_length(pieces), 0).to_numpy(zero_copy_only=False)
    return pieces.filter(pa.array(is_left)), np.bincount(owner[is_left], minlength=len(lists))
