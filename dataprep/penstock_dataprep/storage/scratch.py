"""Keep a build's intermediate files, gone once the dataset is published, and choose where they lie."""

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from penstock_dataprep.storage.files import (
    exists,
    filesystem,
    is_local,
    join,
    open_input,
    out_of_space,
    read_bytes,
    remove,
    write_bytes,
)
from penstock_dataprep.storage.reach import reaching
from penstock_shared.errors import UserMistake

FOLDER_NAME = ".scratch"
# The runners whose workers are on the machine of the command, and so share its disk.
LOCAL_RUNNERS = ("fnapirunner", "directrunner", "bundlebaseddirectrunner", "prismrunner")


def scratch_root(base: str, runner: str, chosen: str | None) -> str:
    """Return where the scratch folders of builds of the dataset at `base` lie; `chosen` is a folder the user names.

    They are beside the versions, where all workers find them. But a bucket is far slower than the disk of a machine
    that does all the work: then they are in its cache folder, under the dataset's hash, for the next build to find.
    Raises UserMistake where the workers of a runner would not find them.
    """
    if chosen is None and (is_local(base) or not runs_here(runner)):
        return join(base, FOLDER_NAME)
    if chosen is not None and not runs_here(runner) and is_local(chosen) and not is_local(base):
        raise UserMistake(f"--scratch {chosen}: workers of {runner} are on other machines; give a folder of a bucket")
    return local_root(base) if chosen is None else join(chosen, _folder_name(base))


def runner_kind(runner: str) -> str:
    """Return what Beam takes a runner's name for: `dataflow`, `DataflowRunner` and a path to it are dataflowrunner."""
    return f"{runner.rpartition('.')[2].lower().removesuffix('runner')}runner"


def runs_here(runner: str) -> bool:
    """Tell whether all of a runner's workers are on this machine."""
    return runner_kind(runner) in LOCAL_RUNNERS


def local_root(base: str) -> str:
    """Return where on this machine scratch files of the remote dataset at `base` lie by default."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return str(cache / "penstock" / "scratch" / _folder_name(base))


def _folder_name(base: str) -> str:
    return f"{base.rpartition('/')[2]}-{hashlib.sha256(base.encode()).hexdigest()[:12]}"


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

    def map_shared(self, name: str, dtype: str) -> np.ndarray:
        """Return an array that every batch needs, memory-mapped: one copy for all processes of a machine.

        Of a remote folder, the machine fetches the file the first time it is asked for.
        """
        if is_local(self.folder):
            return self.map_array(name, dtype)
        copy = join(local_root(self.folder), name)
        if not exists(copy):
            write_bytes(copy, [read_bytes(self.path(name))], durable=False)
        return Scratch(local_root(self.folder)).map_array(name, dtype)

    def clear(self) -> None:
        """Remove all the folder holds, but not the folder, which may be locked."""
        system, inner = filesystem(self.folder)
        with reaching(self.folder):
            for path in system.ls(inner, detail=False) if system.exists(inner) else []:
                system.rm(path, recursive=True)

    def remove(self) -> None:
        """Remove the folder and all it holds."""
        if is_local(self.folder):
            # The kernel frees the pages of a large file about as fast as it fills them, one core at a time.
            with ThreadPoolExecutor() as pool:
                list(pool.map(os.unlink, (path for path in Path(self.folder).rglob("*") if path.is_file())))
        else:
            remove(local_root(self.folder))
        remove(self.folder)

    @contextmanager
    def _create(self, name: str) -> Iterator[pa.NativeFile]:
        inner = self.path(name)
        try:
            if is_local(self.folder):
                Path(inner).parent.mkdir(parents=True, exist_ok=True)
                with pa.OSFile(inner, "wb") as sink:
                    yield sink
            else:
                # Whole or not at all, as notes of finished work rely on.
                buffer = pa.BufferOutputStream()
                yield buffer
                write_bytes(self.path(name), [buffer.getvalue()])
        except OSError as fault:
            raise out_of_space(inner, fault) or fault from None
