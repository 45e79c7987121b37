"""Train, evaluate, export and ask with everything in buckets: the same numbers, also after kills in the middle.

The trainer always runs as a process of its own: TensorFlow holds the interpreter while it waits for some answers, and
the front that gives them lives in this one.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest
from emulators.gcs import Emulator
from emulators.gcs_front import Request
from tiny_events import write_events

from penstock_dataprep.storage import exists, glob, read_bytes

WAIT_SECONDS = 90
RECIPE = """
task: retrieval
model: {kind: two_tower, dimension: 8, hidden: [8]}
loss: {kind: in_batch_softmax}
optimizer: {embeddings: {kind: adam, learning_rate: 0.01}, dense: {kind: adam}}
training: {epochs: 2, batch_rows: 128, window_blocks: 3, checkpoint_every_steps: 10, keep_checkpoints: 2}
evaluation: {k: [5], every_epochs: 1}
"""

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def dataset(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Write a dataset and a recipe to a folder and copy them to a bucket; return both places."""
    folder, bucket = tmp_path_factory.mktemp("events"), emulator.make_bucket("training")
    write_events(folder / "data")
    (folder / "recipe.yaml").write_text(RECIPE)
    system, inner = fsspec.core.url_to_fs(bucket)
    for path in filter(Path.is_file, folder.rglob("*")):
        system.pipe_file(f"{inner}/{path.relative_to(folder)}", path.read_bytes())
    return folder, bucket


@pytest.fixture(scope="module")
def manifest(dataset: tuple[Path, str]) -> str:
    """Return the path of the dataset's manifest inside either place."""
    (path,) = dataset[0].rglob("manifest.json")
    return str(path.relative_to(dataset[0]))


def kill_at(name_end: str, emulator: Emulator, *arguments: str) -> None:
    """Run penstock-train, and kill it when it begins to write a file whose name ends with `name_end`."""
    reached, killed = threading.Event(), threading.Event()

    def hold(request: Request) -> int | None:
        if request.name.endswith(name_end):
            reached.set()
            killed.wait(WAIT_SECONDS)
            return 503
        return None

    with emulator.front.rule(hold):
        command = [sys.executable, "-W", "ignore", "-m", "penstock_training.cli", *arguments]
        victim = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        assert reached.wait(WAIT_SECONDS), victim.stderr and victim.stderr.read()
        victim.send_signal(signal.SIGKILL)
        victim.communicate()
        killed.set()


@pytest.mark.slow
def test_a_run_in_a_bucket_equals_one_on_a_disk_and_survives_kills(
    emulator: Emulator, dataset: tuple[Path, str], manifest: str, command: Command
) -> None:
    folder, bucket = dataset
    # Without the emulator's environment: what is on the disk needs no bucket.
    alone = {name: value for name, value in os.environ.items() if name not in emulator.environment}
    arguments = ["fit", f"{folder}/recipe.yaml", "--dataset", f"{folder}/{manifest}", "--workdir", f"{folder}/run"]
    line = [sys.executable, "-W", "ignore", "-m", "penstock_training.cli", *arguments]
    subprocess.run(line, check=True, capture_output=True, env=alone)

    fit = ["fit", f"{bucket}/recipe.yaml", "--dataset", f"{bucket}/{manifest}", "--workdir", f"{bucket}/run"]
    kill_at("checkpoints/step-0000000020/complete", emulator, *fit)
    assert glob(f"{bucket}/run/checkpoints/step-0000000020/state.index")
    assert not exists(f"{bucket}/run/metrics.json")
    resumed = command("training", *fit)
    assert resumed.returncode == 0, resumed.stderr
    # The checkpoint whose marker never came is none.
    assert "continuing after step 10 of 36" in resumed.stderr
    names = {path.rpartition("run/")[2] for path in glob(f"{bucket}/run/**")}
    assert {"recipe.yaml", "run.json", "metrics.json", "metrics.jsonl"} <= names
    assert not [name for name in names if "step-0000000010" in name]
    assert read_bytes(f"{bucket}/run/metrics.json") == (folder / "run" / "metrics.json").read_bytes()
    (data,) = (folder / "run" / "checkpoints" / "step-0000000036").glob("state.data-*")
    assert read_bytes(f"{bucket}/{data.relative_to(folder)}") == data.read_bytes()

    evaluated = command("training", "evaluate", f"{bucket}/run")
    assert evaluated.returncode == 0, evaluated.stderr
    kill_at("model/model.json", emulator, "export", f"{bucket}/run", "--out", f"{bucket}/model")
    refused = command("training", "recommend", f"{bucket}/model", "--user", "-5000")
    assert refused.returncode == 2
    assert "is not an exported model" in refused.stderr
    exported = command("training", "export", f"{bucket}/run", "--out", f"{bucket}/model")
    assert exported.returncode == 0, exported.stderr
    assert json.loads(read_bytes(f"{bucket}/model/model.json"))["step"] == 36
    assert not exists(f"{bucket}/model/unfinished.txt")
    again = command("training", "export", f"{bucket}/run", "--out", f"{bucket}/model")
    assert again.returncode == 2
    assert "is there already" in again.stderr
    answered = command("training", "recommend", f"{bucket}/model", "--user", "-5000", "-k", "3")
    assert answered.returncode == 0, answered.stderr
    assert answered.stdout.count("item-") == 3


def test_what_is_missing_is_refused_at_once(
    emulator: Emulator, dataset: tuple[Path, str], manifest: str, command: Command
) -> None:
    folder, bucket = dataset
    recipe = f"{folder}/recipe.yaml"
    absent = command("training", "fit", recipe, "--dataset", "gs://no-such-bucket/manifest.json", "--workdir", "run")
    assert absent.returncode == 2
    assert "gs://no-such-bucket/manifest.json: no such file" in absent.stderr
    nowhere = command("training", "fit", recipe, "--dataset", f"{bucket}/{manifest}", "--workdir", "gs://no-such/run")
    assert nowhere.returncode == 2
    assert "there is no such folder or bucket" in nowhere.stderr
    with emulator.front.rule(lambda request: 403 if request.method == "POST" else None):
        private = command("training", "fit", recipe, "--dataset", f"{bucket}/{manifest}", "--workdir", f"{bucket}/no")
    assert private.returncode == 2
    assert "permission denied" in private.stderr
    assert "Traceback" not in absent.stderr + nowhere.stderr + private.stderr
