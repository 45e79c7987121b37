"""Watch the quotes of delimited text go by, so that one that is never closed does not swallow the rest of a file."""

import numpy as np

from penstock_shared.errors import DataRefused

LONGEST_QUOTED_BYTES = 1 << 20
FOLLOWED_BYTES = 1 << 17  # at a time, so that what is derived from them stays in the processor's cache
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
NEWLINE = ord("\n")


class QuoteWatch:
    """Follow which quotes open and close a value in a stream of UTF-8 text, as Arrow's parser takes them.

    A quote opens a value only at its start. Inside, two quotes stand for one; after the closing one, and in a value
    that does not start with a quote, quotes are ordinary characters.
    """

    def __init__(self, path: str, delimiter: str, quote: str) -> None:
        self._path = path
        self._quote = ord(quote)
        self._starts = np.zeros(256, bool)  # bytes after which a value starts
        self._starts[[ord(delimiter), NEWLINE, ord("\r")]] = True
        self._offset = self._lines = 0  # bytes and line ends before the piece at hand
        self._before = NEWLINE  # the byte before it
        self._is_inside = False
        self._opened = -1  # where the value at hand, or the last one, was opened
        self._closed = -2  # where a quote last closed one; the next quote, if right behind, opens it again
        self._line = 1  # the line of self._opened, where that is in an earlier piece

    def __call__(self, piece: bytes) -> bytes:
        """Return a piece of the stream as it is; an empty one is its end.

        Raises DataRefused naming the line of a quote that is not closed by the end, or within LONGEST_QUOTED_BYTES.
        """
        text = bytes(piece)
        if not text and self._is_inside:
            raise self._refusal(text, self._opened, "by the end of the file")
        size = FOLLOWED_BYTES if self._quote in text else max(1, len(text))
        for start in range(0, len(text), size):
            self._pass(text[start : start + size])
        return text

    def _pass(self, piece: bytes) -> None:
        if self._quote in piece:
            self._follow(piece, np.flatnonzero(np.frombuffer(piece, np.uint8) == self._quote))
        end = self._offset + len(piece)
        if self._is_inside and end - self._opened > LONGEST_QUOTED_BYTES:
            raise self._refusal(piece, self._opened, _within())
        if self._opened >= self._offset and (self._is_inside or self._closed == end - 1):
            self._line = self._line_of(piece, self._opened)
        self._lines += piece.count(b"\n")
        self._offset, self._before = end, piece[-1]

    def _follow(self, piece: bytes, places: np.ndarray) -> None:
        before = np.frombuffer(piece, np.uint8)[places - 1]
        if places[0] == 0:
            before[0] = self._before
        if self._offset == 0 and piece.startswith(BYTE_ORDER_MARK):
            before[places == len(BYTE_ORDER_MARK)] = NEWLINE
        at, is_start = places + self._offset, self._starts[before]
        first = int(self._is_inside)  # of the quotes that open a value, if each in turn opens or closes one
        opening, closing = at[first::2], at[1 - first :: 2]
        is_again = opening == np.append(self._closed, at[:-1])[first::2] + 1
        if (is_start[first::2] | is_again).all():
            opened = np.maximum.accumulate(np.append(self._opened, np.where(is_again, -1, opening)))
            self._check(piece, opened[1 - first :][: len(closing)], closing)
            self._opened = int(opened[-1])
            self._closed = int(closing[-1]) if len(closing) else self._closed
            self._is_inside = (first + len(at)) % 2 == 1
        else:
            self._follow_each(piece, at, is_start)

    def _follow_each(self, piece: bytes, at: np.ndarray, is_start: np.ndarray) -> None:
        """Follow quotes of which some are ordinary characters."""
        for place, starts in zip(at.tolist(), is_start.tolist(), strict=True):
            if self._is_inside:
                self._check(piece, np.array([self._opened]), np.array([place]))
                self._is_inside, self._closed = False, place
            elif place == self._closed + 1:
                self._is_inside = True
            elif starts:
                self._is_inside, self._opened = True, place

    def _check(self, piece: bytes, opened: np.ndarray, closed: np.ndarray) -> None:
        too_long = np.flatnonzero(closed - opened > LONGEST_QUOTED_BYTES)
        if len(too_long):
            raise self._refusal(piece, int(opened[too_long[0]]), _within())

    def _line_of(self, piece: bytes, place: int) -> int:
        if place < self._offset:
            return self._line
        return self._lines + piece.count(b"\n", 0, place - self._offset) + 1

    def _refusal(self, piece: bytes, place: int, until: str) -> DataRefused:
        line = self._line_of(piece, place)
        return DataRefused(
            f"{self._path}: the quote {chr(self._quote)} that opens a value in line {line} is not closed {until}; "
            f"close it, or set source.quote: null where quotes are ordinary characters"
        )


def _within() -> str:
    return f"within {LONGEST_QUOTED_BYTES >> 20} MiB"
