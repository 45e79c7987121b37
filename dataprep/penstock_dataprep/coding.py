"""Code the values of a column against its distinct tokens, which lie in the order of their hashes.

That order makes everything after it cheap: the tokens of a hash partition are a slice, counts need no tokens beside
them, and lookups walk the tables from front to back.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock_dataprep.hashing import fingerprint_tokens
from penstock_dataprep.sorting import argsort_words

NULL_CODE = -1


@dataclass(frozen=True)
class Coded:
    """Hold the int32 code of each value (NULL_CODE for null), and by code the tokens, uint64 hashes and checks."""

    codes: np.ndarray
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
        codes = np.full(len(values), NULL_CODE, np.int32)
        codes[present] = coded.codes
        return Coded(codes, coded.tokens, coded.hashes, coded.checks)
    hashes, checks = fingerprint_tokens(values)
    order = argsort_words(hashes)
    ordered = hashes[order]
    is_first = np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]
    codes = np.empty(len(order), np.int32)
    codes[order] = np.cumsum(is_first, dtype=np.int32) - 1
    firsts = order[is_first]
    if (checks != checks[firsts][codes]).any():
        return _code_dictionary(values.dictionary_encode())
    return Coded(codes, values.take(pa.array(firsts)), ordered[is_first], checks[firsts])


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
    return Coded(code_of[indices], tokens.take(order), hashes[places], checks[places])
