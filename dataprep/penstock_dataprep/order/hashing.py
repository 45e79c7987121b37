"""Hash tokens and rows, a whole array at a time (the token hash is defined in penstock_shared.tokens)."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock_shared.tokens import MIX_MULTIPLIERS, MIX_SHIFT, WORD_BYTES

CHUNK = 1 << 15  # 256 KiB of 64-bit words: a pass over a chunk stays in the L2 cache
TOKENS_PER_CHUNK = 1 << 14
LONGEST_PADDED = 64  # bytes of a string: to pad a chunk of them takes 1 MiB at most
LOW_BYTES = np.array([(1 << (8 * kept)) - 1 for kept in range(WORD_BYTES + 1)], np.uint64)
Rows = np.ndarray | slice
WordsOf = Callable[[Rows, int], np.ndarray]  # the words of some rows from a byte on, zeros past a token's end
CHECK_MULTIPLIER, CHECK_SHIFT = np.uint64(0x9FB21C651E98DF25), np.uint64(32)


def mix64(words: np.ndarray) -> None:
    """Scramble each word of a contiguous uint64 array in place."""
    scratch = np.empty(min(CHUNK, len(words)), np.uint64)
    for start in range(0, len(words), CHUNK):
        chunk = words[start : start + CHUNK]
        shifted = scratch[: len(chunk)]
        for multiplier in MIX_MULTIPLIERS:
            np.right_shift(chunk, MIX_SHIFT, out=shifted)
            np.bitwise_xor(chunk, shifted, out=chunk)
            np.multiply(chunk, np.uint64(multiplier), out=chunk)
        np.right_shift(chunk, MIX_SHIFT, out=shifted)
        np.bitwise_xor(chunk, shifted, out=chunk)


def hash_tokens(tokens: pa.Array) -> np.ndarray:
    """Return the uint64 hash of each token of an int64, string or large_string array without nulls."""
    return fingerprint_tokens(tokens)[0]


def fingerprint_tokens(tokens: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return (uint64 hashes, uint32 checks) of the tokens of an int64, string or large_string array without nulls.

    A check folds the same words by another rule: different tokens agree in both as seldom as in 96 bits. Integers
    have no two tokens of one hash, and 0 as their checks.
    """
    if pa.types.is_int64(tokens.type):
        hashes = tokens.to_numpy(zero_copy_only=False).view(np.uint64).copy()
        mix64(hashes)
        return hashes, np.zeros(len(tokens), np.uint32)
    hashes, checks = np.empty(len(tokens), np.uint64), np.empty(len(tokens), np.uint32)
    for start in range(0, len(tokens), TOKENS_PER_CHUNK):
        rows = slice(start, start + TOKENS_PER_CHUNK)
        hashes[rows], checks[rows] = _fingerprint_strings(tokens.slice(start, TOKENS_PER_CHUNK))
    return hashes, checks


def _fingerprint_strings(tokens: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return the hashes and checks of a chunk of strings, so few that all stays in the cache."""
    lengths = pc.binary_length(tokens).to_numpy()
    shortest, longest = int(lengths.min()), int(lengths.max())
    words_of = _padded_words(tokens, longest) if longest <= LONGEST_PADDED else _gathered_words(tokens, lengths)
    hashes = lengths.astype(np.uint64)
    checks = hashes.copy()
    rows: Rows = slice(None)
    for done in range(0, longest, WORD_BYTES):
        is_inside = None if done < shortest else lengths[rows] > done
        if is_inside is not None and 2 * np.count_nonzero(is_inside) < len(is_inside):
            rows, is_inside = np.flatnonzero(lengths > done), None
        words = words_of(rows, done)
        folded = hashes[rows] ^ words
        mix64(folded)
        checked = (checks[rows] ^ words) * CHECK_MULTIPLIER
        checked ^= checked >> CHECK_SHIFT
        hashes[rows] = folded if is_inside is None else np.where(is_inside, folded, hashes[rows])
        checks[rows] = checked if is_inside is None else np.where(is_inside, checked, checks[rows])
    mix64(hashes)
    return hashes, (checks >> CHECK_SHIFT).astype(np.uint32)


def _padded_words(tokens: pa.Array, longest: int) -> WordsOf:
    """Return what gives the words of strings of about one length, which are copied to one length of whole words."""
    words_per_token = -(-longest // WORD_BYTES)
    padded = pc.ascii_rpad(tokens, words_per_token * WORD_BYTES, padding="\0")
    words = string_buffers(padded)[1].view("<u8").reshape(len(tokens), words_per_token)
    return lambda rows, done: words[rows, done // WORD_BYTES]


def _gathered_words(tokens: pa.Array, lengths: np.ndarray) -> WordsOf:
    """Return what gives the words of strings of any lengths, which are read where they lie."""
    offsets, content = string_buffers(tokens)
    # The slack lets every word be read whole, wherever it starts; the mask drops what lies past the token.
    padded = np.concatenate([content, np.zeros(int(lengths.max()) + WORD_BYTES, np.uint8)])
    word_at: np.ndarray = np.ndarray(len(padded) - WORD_BYTES + 1, "<u8", padded, strides=(1,))

    def words_of(rows: Rows, done: int) -> np.ndarray:
        words: np.ndarray = word_at[offsets[:-1][rows] + done]
        words &= LOW_BYTES[np.clip(lengths[rows] - done, 0, WORD_BYTES)]
        return words

    return words_of


def string_buffers(tokens: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return (int64 offsets of length n + 1 starting at 0, uint8 content) of a string array without nulls."""
    wide = pa.types.is_large_string(tokens.type) or pa.types.is_large_binary(tokens.type)
    _, offset_buffer, content_buffer = tokens.buffers()
    dtype = np.int64 if wide else np.int32
    if offset_buffer is None or len(tokens) == 0:
        return np.zeros(1, np.int64), np.zeros(0, np.uint8)
    offsets = np.frombuffer(offset_buffer, dtype)[tokens.offset : tokens.offset + len(tokens) + 1].astype(np.int64)
    content = np.zeros(0, np.uint8) if content_buffer is None else np.frombuffer(content_buffer, np.uint8)
    return offsets - offsets[0], content[offsets[0] : offsets[-1]]


def fold_words(state: np.ndarray, words: np.ndarray) -> None:
    """Fold one uint64 word per row into the rows' hashes, in place."""
    for start in range(0, len(state), CHUNK):
        chunk = state[start : start + CHUNK]
        chunk ^= words[start : start + CHUNK]
        mix64(chunk)


def fold_lists(state: np.ndarray, words: np.ndarray, lengths: np.ndarray) -> None:
    """Fold each row's list of words, preceded by its length, into the rows' hashes, in place."""
    fold_words(state, lengths.astype(np.uint64))
    starts = np.cumsum(lengths) - lengths
    rows, position = np.flatnonzero(lengths), 0
    while len(rows):
        folded = state[rows]
        fold_words(folded, words[starts[rows] + position])
        state[rows] = folded
        position += 1
        # Each pass looks at the rows of the one before alone: a log may have one list of thousands among short ones.
        rows = rows[lengths[rows] > position]
