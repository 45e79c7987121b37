"""Keep the messages of a share on disk until all have come."""

import tempfile
import threading
from collections.abc import Iterator
from typing import IO, NamedTuple

from penstock_dataprep.storage.files import out_of_space


class Message(NamedTuple):
    """Point at one message in the file; in the order of streams, and in a stream of rows."""

    stream: str
    first_row: int
    rows: int
    start: int
    size: int


class Spool:
    """Hold messages in an open file that is empty at first."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._messages: list[Message] = []
        self._lock = threading.Lock()
        self._end = 0

    def add(self, stream: str, first_row: int, rows: int, content: bytes) -> None:
        """Keep a message; any thread may call. Raises PenstockError when the disk is full."""
        with self._lock:
            try:
                self._file.write(content)
            except OSError as fault:
                raise out_of_space(tempfile.gettempdir(), fault) or fault from None
            self._messages.append(Message(stream, first_row, rows, self._end, len(content)))
            self._end += len(content)

    def runs(self, rows_per_run: int) -> Iterator[tuple[int, tuple[bytes, ...]]]:
        """Yield (rows, messages), stream after stream, runs of at most `rows_per_run` rows or of one message."""
        rows, run = 0, list[Message]()
        for message in sorted(self._messages):
            if run and rows + message.rows > rows_per_run:
                yield rows, self._read(run)
                rows, run = 0, []
            run.append(message)
            rows += message.rows
        if run:
            yield rows, self._read(run)

    def _read(self, run: list[Message]) -> tuple[bytes, ...]:
        contents = []
        for message in run:
            self._file.seek(message.start)
            contents.append(self._file.read(message.size))
        return tuple(contents)
