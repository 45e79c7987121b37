"""Run the workers of --direct_running_mode=multi_processing, and end the job when one of them dies.

Beam's own handler of them does not tell the runner, which then may wait for ever for what it asked a dead one.
"""

import os
import signal
import subprocess
import sys
import threading

from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.portability.fn_api_runner.worker_handlers import SubprocessSdkWorkerHandler, WorkerHandler
from google.protobuf import json_format, text_format

from penstock_shared.errors import PenstockError

SECONDS_BETWEEN_LOOKS = 0.1


class Watch:
    """Know the worker processes of a job, and how the first of them died, if one did."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._code: int | None = None

    def clear(self) -> None:
        """Begin with a job of which nobody has died."""
        with self._lock:
            self._code = None

    def add(self, process: subprocess.Popen[bytes]) -> None:
        """Watch over one more."""
        with self._lock:
            self._running.add(process)

    def remove(self, process: subprocess.Popen[bytes]) -> None:
        """Watch over one less, which was told to end."""
        with self._lock:
            self._running.discard(process)

    def note_death(self, code: int) -> None:
        """Note that one died with an exit code, negative for a signal, and kill the others: the job is lost."""
        with self._lock:
            if self._code is None:
                self._code = code
            for process in self._running:
                process.kill()

    def loss(self) -> PenstockError | None:
        """Return the error to raise if a worker died, or None."""
        return None if self._code is None else PenstockError(describe_death(self._code))


WATCH = Watch()


def describe_death(code: int) -> str:
    """Return what to tell of a worker that ended with an exit code before its work was done."""
    how = f"ended with exit code {code}"
    remedy = "run the same command again: it goes on from what was finished"
    if code < 0:
        how = f"was killed by {signal.Signals(-code).name}"
    if code == -signal.SIGKILL:
        how += ", most often the kernel's answer to a want of memory"
        remedy += "; fewer workers (--direct_num_workers) take less memory"
    return f"a worker process {how}; nothing was published. {remedy[0].upper()}{remedy[1:]}"


class WatchedWorker(SubprocessSdkWorkerHandler):
    """Run one worker process; when it ends before it is told to, answer all it was asked with an error."""

    def start_worker(self) -> None:
        """Start the process, which ends with this one."""
        options = self.provision_info.provision_info.pipeline_options
        environment = {
            **os.environ,
            "CONTROL_API_SERVICE_DESCRIPTOR": text_format.MessageToString(self.control_api_service_descriptor()),
            "LOGGING_API_SERVICE_DESCRIPTOR": text_format.MessageToString(self.logging_api_service_descriptor()),
            "PIPELINE_OPTIONS": json_format.MessageToJson(options),
            "WORKER_ID": self.worker_id,
        }
        command = [sys.executable, "-m", "penstock_dataprep.engine.worker"]
        self._closing, self._closed = threading.Event(), threading.Event()
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment)
        WATCH.add(self._process)
        self._watching = threading.Thread(target=self._watch, daemon=True)
        self._watching.start()

    def _watch(self) -> None:
        code = self._process.wait()
        # The runner may have noticed first, by a connection that broke, and be closing all workers.
        if code or not self._closing.is_set():
            WATCH.note_death(code)
        # It may ask more before it learns of it.
        while not self._closed.wait(SECONDS_BETWEEN_LOOKS):
            for number, future in list(self.control_conn._futures_by_id.items()):
                future.set(beam_fn_api_pb2.InstructionResponse(instruction_id=number, error="the worker died"))

    def close(self) -> None:
        """Tell the process to end, and wait until it has."""
        self._closing.set()
        super().close()

    def stop_worker(self) -> None:
        """Wait until the process has ended."""
        with self._process:
            self._process.wait()
        WATCH.remove(self._process)
        self._closed.set()
        self._watching.join()


WorkerHandler.register_environment(python_urns.SUBPROCESS_SDK, bytes)(WatchedWorker)
