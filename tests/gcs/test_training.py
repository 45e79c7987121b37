"""Train, evaluate, export and ask with everything in buckets: the same numbers, also after kills in the middle.

The trainer runs in processes of its own: TensorFlow holds the interpreter while it waits for some answers, and
the front that gives them lives in this one.
"""

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import fsspec
import pytest
from emulators.gcs import Emulator
from emulators.gcs_front import Request
from patience import PATIENCE_SECONDS, wait_until
from tiny_events import write_events

from penstock_dataprep.storage.files import exists, read_bytes
from penstock_dataprep.storage.find import glob

LARGEST_READ_BYTES = 256 << 10
RECIPE = """
task: retrieval
model: {kind: two_tower, dimension: 8, hidden: [8]}
loss: {kind: in_batch_softmax}
optimizer: {embeddings: {kind: adam, learning_rate: 0.01}, dense: {kind: adam}}
training: {epochs: 2, batch_rows: 128, window_blocks: 3, checkpoint_every_steps: 10, keep_checkpoints: 2}
evaluation: {k: [5], every_epochs: 1}
"""

# Importing TensorFlow takes most of the time of these tests: several commands share a process.
COMMANDS = """
import contextlib, io, json, sys
from penstock_training.cli import main
done = []
for arguments in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    done.append((code, out.getvalue(), err.getvalue()))
print(json.dumps(done))
"""


def train(*commands: list[str]) -> list[tuple[int, str, str]]:
    """Run commands of penstock-train in turn; return the exit code, output and errors of each."""
    line = [sys.executable, "-W", "ignore", "-c", COMMANDS, json.dumps(commands)]
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True)
    return [(code, out, err) for code, out, err in json.loads(done.stdout)]


@pytest.fixture(scope="module")
def dataset(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Write a dataset and a recipe to a folder and copy them to a bucket; return both places."""
    folder, bucket = tmp_path_factory.mktemp("events"), emulator.make_bucket("training")
    write_events(folder / "data")
    (folder / "base.yaml").write_text(RECIPE)
    (folder / "recipe.yaml").write_text("from: base.yaml\ntraining: {seed: 3}\n")
    system, inner = fsspec.core.url_to_fs(bucket)
    for path in filter(Path.is_file, folder.rglob("*")):
        system.pipe_file(f"{inner}/{path.relative_to(folder)}", path.read_bytes())
    return folder, bucket


@pytest.fixture(scope="module")
def manifest(dataset: tuple[Path, str]) -> str:
    """Return the path of the dataset's manifest inside either place."""
    (path,) = dataset[0].rglob("manifest.json")
    return str(path.relative_to(dataset[0]))


def kill_at(name_end: str, emulator: Emulator, *commands: list[str]) -> None:
    """Run commands of penstock-train, and kill them when a file whose name ends with `name_end` is to be written."""
    reached, killed = threading.Event(), threading.Event()

    def hold(request: Request) -> int | None:
        if request.name.endswith(name_end):
            reached.set()
            killed.wait(PATIENCE_SECONDS)
            return 503
        return None

    with emulator.front.rule(hold):
        line = [sys.executable, "-W", "ignore", "-c", COMMANDS, json.dumps(commands)]
        victim = subprocess.Popen(line, stdout=subprocess.DEVNULL)
        try:
            wait_until(reached.is_set, victim)
        finally:
            victim.send_signal(signal.SIGKILL)
            victim.wait()
            killed.set()


@pytest.mark.slow
def test_a_run_in_a_bucket_equals_one_on_a_disk_though_it_was_killed(
    emulator: Emulator, dataset: tuple[Path, str], manifest: str
) -> None:
    folder, bucket = dataset
    fits = [
        ["fit", f"{place}/recipe.yaml", "--dataset", f"{place}/{manifest}", "--workdir", f"{place}/run"]
        for place in (folder, bucket)
    ]
    kill_at("checkpoints/step-0000000020/complete", emulator, fits[1])
    assert exists(f"{bucket}/run/checkpoints/step-0000000020/state.index")
    assert not exists(f"{bucket}/run/metrics.json")
    with emulator.front.recorded() as requests:
        (code, _, _), resumed, evaluated = train(*fits, ["evaluate", f"{bucket}/run"])
    assert (code, resumed[0], evaluated[0]) == (0, 0, 0), resumed[2] + evaluated[2]
    # The checkpoint whose marker never came is none.
    assert "continuing after step 10 of 36" in resumed[2]
    names = {path.rpartition("run/")[2] for path in glob(f"{bucket}/run/**")}
    assert {"recipe.yaml", "run.json", "metrics.json", "metrics.jsonl"} <= names
    assert not [name for name in names if "step-0000000010" in name]
    assert read_bytes(f"{bucket}/run/metrics.json") == (folder / "run" / "metrics.json").read_bytes()
    held = list((folder / "run" / "checkpoints" / "step-0000000036").glob("state.data-*"))
    assert len(held) == 1 + 4  # Two tables and their slots.
    for data in held:
        assert read_bytes(f"{bucket}/{data.relative_to(folder)}") == data.read_bytes()
    # To read a block is not to fetch all that follows it.
    ranges = [request.range.removeprefix("bytes=").split("-") for request in requests if ".tfrecord" in request.path]
    assert max(int(last) - int(first) + 1 for first, last in filter(any, ranges) if last) <= LARGEST_READ_BYTES


@pytest.mark.slow
def test_a_model_in_a_bucket_is_whole_or_none(emulator: Emulator, dataset: tuple[Path, str], manifest: str) -> None:
    folder, bucket = dataset
    run, model = f"{bucket}/short", f"{bucket}/model"
    (folder / "short.yaml").write_text(RECIPE.replace("epochs: 2", "epochs: 1").replace("steps: 10", "steps: 100"))
    cache = ["--cache", f"{folder}/cache"]
    fit = ["fit", f"{folder}/short.yaml", "--dataset", f"{bucket}/{manifest}", "--workdir", run, *cache]
    kill_at("model/model.json", emulator, fit, ["export", run, "--out", model])
    recommend, export = ["recommend", model, "--user", "-5000", "-k", "3"], ["export", run, "--out", model]
    copied = {path.name.partition("-")[2] for path in (folder / "cache").glob("*.tfrecord")}
    assert copied == {path.name for path in folder.glob("data/**/t*/*.tfrecord")}
    half, exported, again, answered = train(recommend, export, export, recommend)
    assert half[0] == 2
    assert "is not an exported model" in half[2]
    assert exported[0] == 0, exported[2]
    assert not exists(f"{model}/unfinished.txt")
    assert again[0] == 2
    assert "is there already" in again[2]
    assert answered[0] == 0, answered[2]
    assert answered[1].count("item-") == 3


def test_what_is_missing_is_refused_at_once(emulator: Emulator, dataset: tuple[Path, str], manifest: str) -> None:
    folder, bucket = dataset
    private = emulator.make_bucket("private")
    fit = ["fit", f"{folder}/recipe.yaml", "--dataset", f"{bucket}/{manifest}", "--workdir"]
    absent = ["fit", f"{folder}/recipe.yaml", "--dataset", "gs://no-such-bucket/manifest.json", "--workdir", "run"]
    with emulator.front.rule(lambda request: 403 if "/b/private" in request.path else None):
        refused = train(absent, [*fit, "gs://no-such-bucket/run"], [*fit, f"{private}/run"], ["evaluate", private])
    expected = ("gs://no-such-bucket/manifest.json: no such file", "there is no such folder or bucket")
    for (code, _, err), said in zip(refused, (*expected, "permission denied", "permission denied"), strict=True):
        assert code == 2
        assert said in err


@pytest.mark.slow
def test_a_sweep_lies_in_a_bucket_with_its_runs_and_logs(
    emulator: Emulator, dataset: tuple[Path, str], manifest: str
) -> None:
    _, bucket = dataset
    system, inner = fsspec.core.url_to_fs(bucket)
    sweep = "{recipe: recipe.yaml, judge: {metric: ndcg@5, split: test}, grid: {training.epochs: [1]}}"
    system.pipe_file(f"{inner}/sweep.yaml", sweep.encode())
    search = ["sweep", f"{bucket}/sweep.yaml", "--dataset", f"{bucket}/{manifest}", "--out", f"{bucket}/sweep"]
    (code, printed, err), again = train(search, search)
    assert code == 0, err
    document = json.loads(read_bytes(f"{bucket}/sweep/sweep.json"))
    (trial,) = document["trials"]
    assert trial["status"] == "finished"
    assert trial["run"].startswith(f"{bucket}/sweep/trials/")
    assert json.loads(read_bytes(f"{trial['run']}/metrics.json"))["results"] == trial["results"]
    (log,) = glob(f"{bucket}/sweep/logs/*.log")
    assert b"ndcg@5" in read_bytes(log)
    assert trial["run"] in printed
    # What is finished is not run again.
    assert again[0] == 0
    assert again[1] == printed
    assert "trial 1 of 1" not in again[2]
