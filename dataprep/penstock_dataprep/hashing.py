"""Hash tokens and rows, a whole array at a time (the token hash is defined in penstock_shared.tokens)."""

import numpy as np
import pyarrow as pa

from penstock_shared.tokens import MIX_MULTIPLIERS, MIX_SHIFT, WORD_BYTES

CHUNK = 1 << 15  # 256 KiB of 64-bit words: a pass over a chunk stays in the L2 cache


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
    if pa.types.is_int64(tokens.type):
        hashes = tokens.to_numpy(zero_copy_only=False).view(np.uint64).copy()
        mix64(hashes)
        return hashes
    offsets, content = string_buffers(tokens)
    lengths = np.diff(offsets)
    hashes = lengths.astype(np.uint64)
    # Eight bytes of slack let every word be read whole; the mask below drops what lies past the token.
    padded = np.concatenate([content, np.zeros(WORD_BYTES, np.uint8)])
    words = np.lib.stride_tricks.sliding_window_view(padded, WORD_BYTES)
    longest = int(lengths.max(initial=0))
    rows: np.ndarray | slice = slice(None)
    for start in range(0, longest, WORD_BYTES):
        if start:
            rows = np.flatnonzero(lengths > start)
        rest = lengths[rows] - start
        inside = rest > 0
        word = words[np.where(inside, offsets[:-1][rows] + start, 0)].reshape(-1).view("<u8").copy()
        word &= _low_bytes(np.clip(rest, 0, WORD_BYTES))
        folded = hashes[rows] ^ word
        mix64(folded)
        hashes[rows] = np.where(inside, folded, hashes[rows])
    mix64(hashes)
    return hashes


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


def _low_bytes(count: np.ndarray) -> np.ndarray:
    masks = np.array([(1 << (8 * kept)) - 1 for kept in range(WORD_BYTES + 1)], np.uint64)
    return masks[count]


def fold_words(state: np.ndarray, words: np.ndarray) -> None:
    """Fold one uint64 word per row into the rows' hashes, in place."""
    np.bitwise_xor(state, words, out=state)
    mix64(state)


def fold_lists(state: np.ndarray, words: np.ndarray, lengths: np.ndarray) -> None:
    """Fold each row's list of words, preceded by its length, into the rows' hashes, in place."""
    fold_words(state, lengths.astype(np.uint64))
    starts = np.cumsum(lengths) - lengths
    for position in range(int(lengths.max(initial=0))):
        rows = np.flatnonzero(lengths > position)
        folded = state[rows]
        fold_words(folded, words[starts[rows] + position])
        state[rows] = folded
