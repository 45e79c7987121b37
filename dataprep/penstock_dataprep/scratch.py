"""Keep a build's intermediate files: Arrow batches under the dataset's folder, gone once it is published."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from penstock_dataprep.storage import filesystem, is_local, join, open_input, out_of_space, remove


@dataclass(frozen=True)
class Scratch:
    """Name the scratch folder of one build; files are named by the work they hold, so a retry writes the same."""

    folder: str

    def path(self, name: str) -> str:
        """Return the place of a scratch file."""
        return join(self.folder, name)

    def write_batches(self, name: str, batches: list[pa.RecordBatch]) -> None:
        """Write batches of one schema as an Arrow IPC file, from which each can be read alone."""
        with self._create(name) as sink, pa.ipc.new_file(sink, batches[0].schema) as writer:
            for batch in batches:
                writer.write_batch(batch)

    def read_batch(self, name: str, position: int = 0) -> pa.RecordBatch:
        """Return one batch of an Arrow IPC file; a local file is memory-mapped."""
        return pa.ipc.open_file(open_input(self.path(name))).get_batch(position)

    def write_array(self, name: str, array: np.ndarray) -> None:
        """Write one numpy array as it lies in memory."""
        with self._create(name) as sink:
            sink.write(np.ascontiguousarray(array))

    def map_array(self, name: str, dtype: str) -> np.ndarray:
        """Return an array of a scratch file, memory-mapped where the file is local."""
        with open_input(self.path(name)) as file:
            return np.frombuffer(file.read_buffer(), dtype)

    def clear(self) -> None:
        """Remove all the folder holds, but not the folder, which may be locked."""
        system, inner = filesystem(self.folder)
        for path in system.ls(inner, detail=False) if system.exists(inner) else []:
            system.rm(path, recursive=True)

    def remove(self) -> None:
        """Remove the folder and all it holds."""
        remove(self.folder)

    @contextmanager
    def _create(self, name: str) -> Iterator[pa.NativeFile]:
        system, inner = filesystem(self.path(name))
        try:
            system.makedirs(inner.rpartition("/")[0], exist_ok=True)
            local = is_local(self.folder)
            with pa.OSFile(inner, "wb") if local else pa.PythonFile(system.open(inner, "wb"), "w") as sink:
                yield sink
        except OSError as fault:
            raise out_of_space(inner, fault) or fault from None
