"""Define the ids every vocabulary reserves and the 64-bit hash of a token.

Ids: 0 padding, 1 null, then `oov_buckets` ids for tokens outside the vocabulary, then tokens by descending
count, ties by ascending token (strings compared as UTF-8 bytes). A vocabulary that grew keeps the ids it had and
orders only the tokens of its newest version so, after all others (see penstock_shared.vocabularies).

The hash chooses out-of-vocabulary buckets, and so is part of the format: the preparation (numpy), the exported
model (TensorFlow) and this reference give equal values. It is MurmurHash3's 64-bit finaliser (Appleby, public
domain) folded over the token's little-endian 8-byte words, the last one padded with zeros. A string's hash
starts from its length in bytes; an integer is one word and starts from 0. All arithmetic is modulo 2^64.
"""

PADDING_ID = 0
NULL_ID = 1
FIRST_OOV_ID = 2

MASK64 = 2**64 - 1
MIX_MULTIPLIERS = (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53)
MIX_SHIFT = 33
WORD_BYTES = 8


def mix64(word: int) -> int:
    """Scramble a 64-bit word; a bijection on 0..2^64 - 1."""
    for multiplier in MIX_MULTIPLIERS:
        word = ((word ^ (word >> MIX_SHIFT)) * multiplier) & MASK64
    return word ^ (word >> MIX_SHIFT)


def hash_token(token: int | str) -> int:
    """Return the 64-bit hash of an int64 or string token."""
    if isinstance(token, int):
        return mix64(token & MASK64)
    encoded = token.encode("utf-8")
    state = len(encoded)
    for start in range(0, len(encoded), WORD_BYTES):
        state = mix64(state ^ int.from_bytes(encoded[start : start + WORD_BYTES], "little"))
    return mix64(state)


def first_token_id(oov_buckets: int) -> int:
    """Return the id of the most frequent token."""
    return FIRST_OOV_ID + oov_buckets


def oov_id(token_hash: int, oov_buckets: int) -> int:
    """Return the out-of-vocabulary id for a hash; the top 63 bits choose, so that signed arithmetic suffices."""
    return FIRST_OOV_ID + (token_hash >> 1) % oov_buckets
