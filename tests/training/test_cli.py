import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from penstock_training.cli import main
from penstock_training.commands.arguments import size_in_bytes

RECIPE = """
task: retrieval
model: {kind: two_tower, dimension: 8}
loss: {kind: in_batch_softmax}
training: {epochs: 1, batch_rows: 128}
evaluation: {k: [5], every_epochs: 0}
"""


def test_help_and_recipes_and_mistakes_do_not_wait_for_tensorflow(tmp_path: Path) -> None:
    check = (
        "import sys; from penstock_training.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: print(end.code, 'tensorflow' in sys.modules)"
    )
    check += "\nelse: print('tensorflow' in sys.modules)"
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    upper = tmp_path / "upper.yaml"
    upper.write_text("from: recipe.yaml\ntraining: {epochs: 2}\n")
    for arguments, expected in (
        (["--help"], "0 False"),
        (["fit"], "2 False"),
        (["fit", "--help"], "0 False"),
        (["recipe", str(upper)], "False"),
        (["sweep", str(upper), "--dataset", "D", "--out", "S"], "False"),
        (["fit", str(upper), "--dataset", "D", "--workdir", "W", "--set", "training.epoch=1"], "False"),
    ):
        done = subprocess.run([sys.executable, "-c", check, *arguments], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == expected


def test_keras_2_is_chosen_before_tensorflow_is_imported() -> None:
    check = "import penstock_training, tensorflow as tf; print(tf.keras.layers.Layer.__module__.split('.')[0])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "tf_keras"


@pytest.mark.parametrize(
    ("verb", "flags"),
    [
        (
            "fit",
            {"-h", "--dataset", "--workdir", "--from", "--cache", "--cache-size", "--strategy", "--replicas", "--set"},
        ),
        ("bench-input", {"-h", "--dataset", "--seconds", "--json", "--cache", "--cache-size", "--set"}),
        ("evaluate", {"-h", "--split"}),
        ("export", {"-h", "--out"}),
        ("recommend", {"-h", "--user", "-k"}),
        ("peek", {"-h", "--bigquery", "--columns", "--rows", "--where", "--recipe", "--set", "--json"}),
        ("tpu-check", {"-h", "--dataset", "--topology", "--json", "--set"}),
        ("recipe", {"-h", "--origins", "--set"}),
        ("sweep", {"-h", "--dataset", "--out", "--cache", "--cache-size", "--strategy", "--replicas"}),
        ("compare", {"-h", "--split", "--json"}),
    ],
)
def test_the_flags_are_few_and_pinned(capsys: pytest.CaptureFixture[str], verb: str, flags: set[str]) -> None:
    # All else belongs into the recipe, which is saved with the run.
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    options = capsys.readouterr().out.partition("options:")[2]
    found = {line.split()[0].rstrip(",") for line in options.splitlines() if line.startswith("  -")}
    assert found == flags


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1000", 1000), ("200GB", 200 * 10**9), ("1.5 TB", 15 * 10**11), ("64GiB", 64 << 30), ("3k", 3000), ("0", 0)],
)
def test_sizes_are_read_as_people_write_them(text: str, expected: int) -> None:
    assert size_in_bytes(text) == expected


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1,5GB", "10 apples", "1e9"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected a size such as 200GB"):
        size_in_bytes(text)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ["fit", "absent.yaml", "--dataset", "MANIFEST", "--workdir", "run"],
            2,
            "absent.yaml: cannot be read: No such file",
        ),
        (
            ["fit", "wrong.yaml", "--dataset", "MANIFEST", "--workdir", "run"],
            2,
            "unknown key 'epoch'; did you mean 'epochs'",
        ),
        (["fit", "recipe.yaml", "--dataset", "absent.json", "--workdir", "run"], 2, "absent.json: no such file"),
        (["fit", "recipe.yaml", "--dataset", "broken.json", "--workdir", "run"], 3, "broken.json: not JSON"),
        (["fit", "recipe.yaml", "--dataset", "MANIFEST", "--workdir", "."], 2, "is not empty and holds no run.json"),
        (
            ["fit", "recipe.yaml", "--dataset", "MANIFEST", "--workdir", "run", "--set", "model.dimension=eight"],
            2,
            "penstock-train: --set model.dimension=eight: model.dimension: found 'eight', expected",
        ),
        (
            ["fit", "recipe.yaml", "--dataset", "MANIFEST", "--workdir", "run", "--cache-size", "2GB"],
            2,
            "--cache-size: says how large --cache FOLDER may become; give --cache too",
        ),
        (["evaluate", "."], 2, "is not a run"),
        (["evaluate", "absent"], 2, "is not a run"),
        (["export", "absent", "--out", "model"], 2, "is not a run"),
        (["compare", "run"], 2, "run: is one run; expected two or more to compare"),
        (["compare", "absent", "run"], 2, "is not a run"),
        (["sweep", "recipe.yaml", "--dataset", "MANIFEST", "--out", "run"], 2, "recipe.yaml: task: unknown key 'task'"),
        (
            ["sweep", "sweep.yaml", "--dataset", "MANIFEST", "--out", "run"],
            2,
            "sweep.yaml: judge.split is 'validation', but MANIFEST has train, test; build it with validation_fraction",
        ),
        (["recommend", "absent", "--user", "1"], 2, "is not an exported model"),
        (["peek", "--bigquery", "shop.events", "--columns", "a"], 2, "shop.events: expected PROJECT.DATASET.TABLE"),
        (["peek", "--bigquery", "a.b.c", "--columns", "a,,b"], 2, "found a column without a name"),
        (["peek", "--bigquery", "a.b.c", "--columns", "a,b,a"], 2, "a is there twice"),
        (["peek", "--bigquery", "a.b.c", "--columns", "a=user,b=user"], 2, "user is there twice"),
        (["peek", "--bigquery", "a.b.c", "--columns", "a=users"], 2, "found a=users, expected a role of user, item"),
        (["peek", "--bigquery", "a.b.c", "--columns", "a", "--recipe", "absent.yaml"], 2, "absent.yaml: cannot be"),
        (["peek", "--bigquery", "a.b.c", "--columns", "a", "--recipe", "wrong.yaml"], 2, "unknown key 'epoch'"),
        (["peek", "--bigquery", "a.b.c", "--columns", "a.b"], 2, "a.b is a field of a RECORD"),
        (["peek", "--bigquery", "a.b.c", "--columns", "a", "--rows", "1000001"], 2, "expected at most 100000"),
        # This environment has the newer TensorFlow, and so no tensorflow-io.
        (["peek", "--bigquery", "a.b.c", "--columns", "a"], 2, "pip install 'penstock-training[bigquery]'"),
    ],
)
def test_mistakes_end_with_a_message_and_their_exit_code(
    events: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("recipe.yaml").write_text(RECIPE)
    Path("wrong.yaml").write_text(RECIPE.replace("epochs: 1", "epoch: 1"))
    Path("sweep.yaml").write_text("{recipe: recipe.yaml, judge: {metric: ndcg@5}, grid: {training.epochs: [1]}}")
    Path("broken.json").write_text("{")
    assert main([argument.replace("MANIFEST", str(events)) for argument in arguments]) == code
    error = capsys.readouterr().err
    assert error.startswith("penstock-train: ")
    assert message.replace("MANIFEST", str(events)) in error
    assert not Path("run").exists()


def test_a_damaged_shard_ends_training_with_its_name(
    own_events: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = own_events.parent / "train/00001.tfrecord"
    content = bytearray(damaged.read_bytes())
    content[60] ^= 8
    damaged.write_bytes(content)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    arguments = ["fit", str(tmp_path / "recipe.yaml"), "--dataset", str(own_events), "--workdir", str(tmp_path / "run")]
    assert main(arguments) == 3
    assert "train/00001.tfrecord: corrupt: block 13 of split train" in capsys.readouterr().err


def test_the_four_verbs_follow_each_other(events: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    run, model = str(tmp_path / "run"), str(tmp_path / "model")
    assert main(["fit", str(tmp_path / "recipe.yaml"), "--dataset", str(events), "--workdir", run]) == 0
    assert re.search(r"step (\d+)/\1  .* rows/s  loss .*  input wait \d+\.\d%  0 s left", capsys.readouterr().err)
    assert main(["evaluate", run]) == 0
    assert main(["export", run, "--out", model]) == 0
    capsys.readouterr()
    assert main(["recommend", model, "--user", "0", "-k", "2"]) == 0
    assert capsys.readouterr().out.count("item-") == 2


def test_who_stops_reading_is_told_nothing(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "penstock_training.cli", "recipe", str(tmp_path / "recipe.yaml")]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")
