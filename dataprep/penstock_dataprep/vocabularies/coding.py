"""Code the values of a column against its distinct tokens, which lie in the order of their hashes.

That order makes everything after it cheap: the tokens of a hash partition are a slice, counts need no tokens beside
them, and lookups walk the tables from front to back.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock_dataprep.order.hashing import fingerprint_tokens
from penstock_dataprep.order.sorting import sort_words

NULL_CODE = -1
NULL_WORD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: a word that stands for "no value" in a row's hash


@dataclass(frozen=True)
class Coded:
    """Hold the int32 code and uint64 hash of each value, and by code the tokens, uint64 hashes and checks.

    Null has NULL_CODE and NULL_WORD.
    """

    codes: np.ndarray
    words: np.ndarray
    tokens: pa.Array
    hashes: np.ndarray
    checks: np.ndarray


def code_tokens(values: pa.Array) -> Coded:
    """Code int64 or string values."""
    if pa.types.is_dictionary(values.type):
        return _code_dictionary(values)
    if values.null_count:
        present = values.is_valid().to_numpy(zero_copy_only=False)
        coded = code_tokens(values.drop_null())
        codes, words = np.full(len(values), NULL_CODE, np.int32), np.full(len(values), NULL_WORD, np.uint64)
        codes[present], words[present] = coded.codes, coded.words
        return Coded(codes, words, coded.tokens, coded.hashes, coded.checks)
    hashes, checks = fingerprint_tokens(values)
    order, ordered = sort_words(hashes)
    is_first = np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]
    codes = np.empty(len(order), np.int32)
    codes[order] = np.cumsum(is_first, dtype=np.int32) - 1
    firsts = order[is_first]
    if (checks != checks[firsts][codes]).any():
        return _code_dictionary(values.dictionary_encode())
    return Coded(codes, hashes, values.take(pa.array(firsts)), ordered[is_first], checks[firsts])


def _code_dictionary(encoded: pa.DictionaryArray) -> Coded:
    """Code by the tokens themselves, whatever their hashes; tokens that share a hash are in ascending order."""
    tokens = encoded.dictionary
    hashes, checks = fingerprint_tokens(tokens)
    table = pa.table({"hash": hashes, "token": tokens})
    order = pc.sort_indices(table, sort_keys=[("hash", "ascending"), ("token", "ascending")])
    places = order.to_numpy()
    code_of = np.empty(len(tokens) + 1, np.int32)
    code_of[places] = np.arange(len(tokens), dtype=np.int32)
    code_of[NULL_CODE] = NULL_CODE
    indices = encoded.indices.fill_null(NULL_CODE).to_numpy(zero_copy_only=False)
    # Position -1, the null code, picks the last entry.
    words = np.append(hashes, NULL_WORD)[indices]
    return Coded(code_of[indices], words, tokens.take(order), hashes[places], checks[places])
