"""Stand in for Dataflow's API: take jobs the way it does, and run what was staged as its workers would.

A worker is a Python of its own, on a machine of its own as far as caches and temporary files go. It installs the
packages that the job names, before all others, and runs the graph that the job names; it gets nothing else.
"""

import itertools
import json
import os
import re
import subprocess
import tempfile
import threading
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

JOBS = re.compile(r"/v1b3/projects/(?P<project>[^/]+)/locations/(?P<region>[^/]+)/jobs(/(?P<id>[^/]+))?(?P<of>/\w+)?")
ACCOUNT = {"email": "tester@test.iam.gserviceaccount.com", "scopes": ["cloud-platform"], "aliases": ["default"]}
TOKEN = {"access_token": "token", "expires_in": 3599, "token_type": "Bearer"}
STATES = {None: "JOB_STATE_RUNNING", 0: "JOB_STATE_DONE"}
RUN = """
import sys
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
import penstock_dataprep, penstock_shared
for package in (penstock_dataprep, penstock_shared):
    assert package.__file__.startswith(sys.argv[2]), package.__file__
graph = beam_runner_api_pb2.Pipeline.FromString(open(sys.argv[1], "rb").read())
for environment in graph.components.environments.values():
    environment.urn, environment.payload = "beam:env:embedded_python:v1", b""
    del environment.dependencies[:]
FnApiRunner().run_via_runner_api(graph, PipelineOptions([])).wait_until_finish()
"""


class Running(NamedTuple):
    """Hold a job as it was posted, and the worker that runs it, whose machine is `folder`."""

    job: dict[str, Any]
    worker: subprocess.Popen[bytes]
    folder: Path

    @property
    def options(self) -> dict[str, Any]:
        """Return the options of the pipeline."""
        found: dict[str, Any] = self.job["environment"]["sdkPipelineOptions"]["options"]
        return found

    @property
    def wheels(self) -> list[Path]:
        """Return the packages that the worker installed, in their order."""
        return sorted(self.folder.glob("*.whl"), key=lambda path: "dataprep" in path.name)


class Dataflow(ThreadingHTTPServer):
    """Serve at `url`: workers are `python`, and `storage` is the URL of a Cloud Storage emulator.

    `running` are the jobs taken, by id. `answers` says what jobs of a name that begins so are answered instead: a
    status, or the id of a job of the same name that runs.
    """

    daemon_threads = True

    def __init__(self, python: Path, storage: str) -> None:
        super().__init__(("127.0.0.1", 0), Service)
        self.python, self.storage = python, storage
        self.running: dict[str, Running] = {}
        self.answers: dict[str, int | str] = {}
        # Beam checks endpoints of other names against those of Google Cloud.
        self.url = f"http://localhost:{self.server_port}/"
        self._numbers = itertools.count(1)
        self._folder = tempfile.TemporaryDirectory()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """End the service and all workers."""
        for held in self.running.values():
            held.worker.kill()
            held.worker.wait()
        self.shutdown()
        self.server_close()
        self._folder.cleanup()

    def take(self, job: dict[str, Any]) -> dict[str, Any]:
        """Start a job on a worker, and return it with its id."""
        identity = f"job-{next(self._numbers)}"
        machine = Path(self._folder.name) / identity
        machine.mkdir()
        (pool,) = job["environment"]["workerPools"]
        for package in pool["packages"]:
            (machine / package["name"]).write_bytes(self._fetch(package["location"].partition("/")[2]))
        graph = machine / "pipeline.pb"
        graph.write_bytes(self._fetch(job["environment"]["sdkPipelineOptions"]["options"]["pipelineUrl"][5:]))
        wheels = sorted(map(str, machine.glob("*.whl")))
        pip = [self.python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
        subprocess.run([*pip, "--target", machine / "installed", *wheels], check=True)
        settings = {"PYTHONPATH": str(machine / "installed"), "XDG_CACHE_HOME": str(machine), "TMPDIR": str(machine)}
        with (machine / "log").open("wb") as log:
            command = [self.python, "-W", "ignore", "-c", RUN, graph, machine]
            worker = subprocess.Popen(command, env=os.environ | settings, stdout=log, stderr=log, cwd=machine)
        self.running[identity] = Running(job, worker, machine)
        return {**job, "id": identity, "currentState": "JOB_STATE_RUNNING"}

    def _fetch(self, path: str) -> bytes:
        bucket, _, name = path.partition("/")
        url = f"{self.storage}/storage/v1/b/{bucket}/o/{urllib.parse.quote(name, safe='')}?alt=media"
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url) as answer:
            content: bytes = answer.read()
        return content


class Service(BaseHTTPRequestHandler):
    """Answer one connection; the metadata of a machine in Google Cloud, which credentials come from, among it."""

    protocol_version = "HTTP/1.1"
    server: Dataflow

    def do_GET(self) -> None:
        """Answer how a job does, and who asks."""
        path = self.path.partition("?")[0].rstrip("/")
        if path.startswith("/computeMetadata") or not path:
            self._answer(200, TOKEN if path.endswith("/token") else ACCOUNT)
            return
        asked = JOBS.fullmatch(path)
        if asked is None or asked["id"] not in self.server.running:
            self._answer(404, {"error": {"code": 404, "message": f"{path}: no such job"}})
            return
        held = self.server.running[asked["id"]]
        state = STATES.get(held.worker.poll(), "JOB_STATE_FAILED")
        if asked["of"] == "/messages":
            failed = {
                "time": "2026-11-20T00:00:00Z",
                "messageImportance": "JOB_MESSAGE_ERROR",
                "messageText": "It failed.",
            }
            self._answer(200, {"jobMessages": [failed]} if state == "JOB_STATE_FAILED" else {})
        else:
            self._answer(200, {**held.job, "id": asked["id"], "currentState": state})

    def do_POST(self) -> None:
        """Take a job, or refuse it."""
        job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        match [answer for start, answer in self.server.answers.items() if job["name"].startswith(start)]:
            case [int(status)]:
                self._answer(status, {"error": {"code": status, "message": "the caller lacks dataflow.jobs.create"}})
            case [str(identity)]:
                other = {"id": identity, "clientRequestId": "of another", "currentState": "JOB_STATE_RUNNING"}
                self._answer(200, {**job, **other})
            case _:
                self._answer(200, self.server.take(job))

    def _answer(self, status: int, document: dict[str, Any]) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Metadata-Flavor", "Google")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *values: object) -> None:  # noqa: A002
        """Say nothing."""
