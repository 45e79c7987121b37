"""Build on Dataflow: what is sent to it, what its workers get, and what is said when it cannot work.

Dataflow itself does not run here. Its client does, and sends jobs to a stand-in, whose workers install what the job
brings them and run its graph.
"""

import json
import os
import subprocess
import zipfile
from email.parser import Parser
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from emulator import Emulator
from emulators.dataflow import Dataflow
from logs import PLAIN_COLUMNS, plain_log, plain_spec, run, write_parquet, write_spec
from patience import PATIENCE_SECONDS
from test_read import bigquery_spec

from penstock_dataprep.storage.files import filesystem, read_bytes
from penstock_shared.manifest import load_manifest

DAYS, ROWS_A_DAY = 3, 500
CLI = ["-W", "ignore", "-m", "penstock_dataprep.cli"]
# Many commands in one process, since Beam takes seconds to start.
COMMANDS = """
import contextlib, io, json, sys
from penstock_dataprep.cli import main
answers = []
for arguments in json.load(sys.stdin):
    err = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
        code = main(arguments)
    answers.append([code, err.getvalue()])
print(json.dumps(answers))
"""


def flags(dataflow: Dataflow) -> list[str]:
    """Return the flags of a job: those that a user gives, and two that lead to the stand-in."""
    endpoint = [f"--dataflow_endpoint={dataflow.url}", "--no_auth"]
    return ["--", "--runner=DataflowRunner", "--project=test", "--region=us-central1", *endpoint]


def objects(url: str) -> dict[str, bytes]:
    """Return the objects under a URL, by their paths below it, but for what tells when they were made."""
    # Not by fsspec's own cache, which keeps filesystems of emulators that other tests ran.
    system, inner = filesystem(url)
    found = {path.removeprefix(inner).lstrip("/"): path for path in system.find(inner)}
    dated = ("manifest.json", "card.html", "builder")
    return {name: system.cat_file(path) for name, path in found.items() if not name.endswith(dated)}


@pytest.fixture(scope="module")
def table(tables: Emulator) -> str:
    days = pa.array(np.arange(DAYS * ROWS_A_DAY) // ROWS_A_DAY + 20_000, pa.int32()).cast(pa.date32())
    log = plain_log(DAYS * ROWS_A_DAY, seed=5).append_column("day", days)
    return tables.load("events", log, partitioned_by="day")


@pytest.fixture(scope="module")
def documents(table: str) -> dict[str, dict[str, Any]]:
    """Return specs: of a build that works, and of one whose rows a worker refuses."""
    source = {"table": table, "rows_per_range": ROWS_A_DAY}
    rating = {**PLAIN_COLUMNS["rating"], "range": [0, 2]}
    return {
        "Log_1": bigquery_spec(table, name="Log_1", bigquery=source),
        "broken": bigquery_spec(table, {**PLAIN_COLUMNS, "rating": rating}, name="broken"),
    }


@pytest.fixture(scope="module")
def builds(
    dataflow: Dataflow, documents: dict[str, Any], bucket: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, subprocess.CompletedProcess[str]]:
    """Return what the builds of the specs said, which run at the same time."""
    folder = tmp_path_factory.mktemp("specs")
    started = {}
    for name, document in documents.items():
        spec = write_spec(folder / f"{name}.yaml", document)
        command = [dataflow.python, *CLI, "build", spec, "--out", f"{bucket}/data", *flags(dataflow)]
        started[name] = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    done = {}
    for name, process in started.items():
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
        done[name] = subprocess.CompletedProcess(process.args, process.returncode, out, err)
    return done


def test_workers_that_get_what_was_staged_and_nothing_else_make_the_bytes_of_this_machine(
    builds: dict[str, Any], documents: dict[str, Any], bucket: str, tmp_path: Path
) -> None:
    built = builds["Log_1"]
    assert built.returncode == 0, built.stderr
    manifest = built.stdout.splitlines()[-1]
    assert run("verify", manifest) == 0
    assert run("build", write_spec(tmp_path / "spec.yaml", documents["Log_1"]), "--out", tmp_path / "here") == 0
    (here,) = (tmp_path / "here").glob("Log_1/*/manifest.json")
    assert objects(manifest.rpartition("/")[0]) == objects(str(here.parent))
    assert load_manifest(read_bytes(manifest), manifest).tool.runner == "DataflowRunner"
    # Nothing else is left: no scratch files, and nothing that Beam staged.
    assert {name.split("/")[0] for name in objects(f"{bucket}/data/Log_1")} == {manifest.split("/")[-2]}
    assert (
        "goes on if this command ends: https://console.cloud.google.com/dataflow/jobs/us-central1/job-" in built.stderr
    )


def test_a_job_is_named_and_brings_this_program_with_the_versions_of_this_machine(
    dataflow: Dataflow, builds: dict[str, Any], bucket: str
) -> None:
    version = builds["Log_1"].stdout.splitlines()[-1].split("/")[-2]
    (held,) = (held for held in dataflow.running.values() if held.job["name"] == f"penstock-log-1-{version}")
    assert held.options["temp_location"].startswith(f"{bucket}/data/Log_1/.scratch/{version}-")
    assert "no_use_multiple_sdk_containers" in held.job["environment"]["experiments"]
    assert "use_multiple_sdk_containers" not in held.job["environment"]["experiments"]
    assert [wheel.name.split("-")[0] for wheel in held.wheels] == ["penstock_shared", "penstock_dataprep"]
    for wheel in held.wheels:
        with zipfile.ZipFile(wheel) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith("METADATA"))
            wanted = Parser().parsestr(archive.read(name).decode()).get_all("Requires-Dist", [])
        pins = dict(text.split("==") for text in wanted)
        assert pins.keys() & {"pydantic", "pyarrow"}
        assert pins == {package: metadata.version(package) for package in pins}


def test_what_a_worker_refuses_is_said_and_nothing_is_left(builds: dict[str, Any], bucket: str) -> None:
    broken = builds["broken"]
    assert broken.returncode == 3, broken.stderr
    assert "max_reject_fraction allows 5.00%" in broken.stderr
    assert "Traceback" not in broken.stderr
    assert objects(f"{bucket}/data/broken") == {}


def test_what_cannot_work_is_refused_before_the_job(
    dataflow: Dataflow, table: str, bucket: str, tmp_path: Path
) -> None:
    spec = write_spec(tmp_path / "spec.yaml", bigquery_spec(table))
    files = write_spec(tmp_path / "files.yaml", plain_spec(write_parquet(plain_log(50, seed=1), tmp_path / "log")))
    out = ["--out", f"{bucket}/refused"]
    given = flags(dataflow)
    cases = [
        (["build", spec, *out, "--", "--runner=DataflowRunner", "--region=r"], "--project: missing"),
        (["build", spec, *out, "--", "--runner=dataflow", "--project=p"], "--region: missing"),
        (["plan", spec, "--", "--runner=dataflow", "--project=p"], "--region: missing"),
        (["build", spec, "--out", str(tmp_path / "data"), *given], "which Dataflow's workers do not see; give a gs://"),
        (["plan", spec, "--out", str(tmp_path / "data"), *given], "which Dataflow's workers do not see; give a gs://"),
        (["build", files, *out, *given], "source.files: "),
        (["plan", files, *given], "copy the files to a bucket"),
        (["build", spec, *out, "--scratch", "/fast", *given], "--scratch /fast"),
        (["build", spec, *out, *given, "--template_location=gs://b/t"], "--template_location"),
    ]
    taken = len(dataflow.running)
    for (arguments, message), (code, said) in zip(cases, answers(dataflow, [one for one, _ in cases]), strict=True):
        assert (code, message in said, "Traceback" in said) == (2, True, False), (arguments, said)
    assert len(dataflow.running) == taken
    assert objects(f"{bucket}/refused") == {}


def answers(dataflow: Dataflow, commands: list[list[str]]) -> list[list[Any]]:
    """Return (exit code, standard error) of each command."""
    command = [dataflow.python, "-W", "ignore", "-c", COMMANDS]
    environment = {**os.environ, "CLOUDSDK_COMPUTE_REGION": ""}
    done = subprocess.run(
        command,
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        env=environment,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[list[Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_what_dataflow_answers_is_said_and_finished_work_is_kept(
    dataflow: Dataflow, table: str, bucket: str, tmp_path: Path
) -> None:
    dataflow.answers = {"penstock-forbidden": 403, "penstock-wrong": 400, "penstock-active": "2026-11-20_1"}
    cases = {
        "forbidden": ("permission denied", "dataflow.jobs.create", "Dataflow Developer"),
        "wrong": ("the job was not started", "dataflow.jobs.create"),
        "active": ("Dataflow runs this build already", "2026-11-20_1"),
    }
    specs = [write_spec(tmp_path / f"{name}.yaml", bigquery_spec(table, name=name)) for name in cases]
    commands = [["build", spec, "--out", f"{bucket}/data", *flags(dataflow)] for spec in specs]
    for (name, messages), (code, said) in zip(cases.items(), answers(dataflow, commands), strict=True):
        assert (code, "Traceback" in said) == (1, False), said
        assert all(message in said for message in messages), said
        # What another job, or another attempt, has finished lies there.
        assert any("/done/" in path for path in objects(f"{bucket}/data/{name}/.scratch"))


def test_where_the_client_is_not_installed_it_is_said_how_to_get_it(
    tables: Emulator, table: str, bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = write_spec(tmp_path / "spec.yaml", bigquery_spec(table))
    for command in ("build", "plan"):
        assert run(command, spec, "--out", f"{bucket}/data", "--", "--runner=DataflowRunner", "--project=p") == 2
        assert "--runner=DataflowRunner: its client is not installed here" in (said := capsys.readouterr().err)
        assert "make dataflow" in said
