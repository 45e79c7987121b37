import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tensorflow as tf

from penstock_training.cli import main
from penstock_training.data.dataset import open_dataset
from penstock_training.data.feed import Feed
from penstock_training.fitting.run import check_run
from penstock_training.models import MODELS, TwoTowerModel
from penstock_training.models.base import normal_table
from penstock_training.recipe import load_recipe
from penstock_training.tpu.ids import batch_of_chip
from penstock_training.tpu.stand_in import CoreTable, Lookups, table_creator
from penstock_training.tpu_check import check
from penstock_training.tpu_check.compile import CompilerRefused, compile_step, compiler_python
from penstock_training.tpu_check.refused import refusals
from penstock_training.tpu_check.tiles import products
from penstock_training.tpu_check.topology import parse_topology
from penstock_training.tpu_check.trace import Exchange, Traced, lowered, planned_trainer, trace_step

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
# Recipes that name features of entity tables, which this dataset does not have, are traced without them.
WITHOUT_FEATURES = ("model.user_features=[]", "model.item_features=[]")
RECIPE = """
task: retrieval
model: {kind: two_tower, dimension: 8, hidden: [16]}
loss: {kind: in_batch_softmax}
optimizer: {embeddings: {kind: adam}}
training: {epochs: 1, batch_rows: 256, unknown_item_rate: 0.1}
evaluation: {k: [5], every_epochs: 0}
"""


class BadTower(TwoTowerModel):
    """Do what no TPU can: hash strings in a step, and keep a number of rows that depends on values."""

    def queries(self, users: tf.Tensor) -> tf.Tensor:
        texts = tf.strings.as_string(users)  # a string
        kept = tf.boolean_mask(users, users > 3)  # a shape
        both = tf.strings.to_hash_bucket_fast(texts, 5)[0] + tf.cast(tf.size(kept), tf.int64)
        return super().queries(users) + tf.cast(both, tf.float32)


class FilteringTower(TwoTowerModel):
    """Look up as many users as there happen to be of a kind."""

    def queries(self, users: tf.Tensor) -> tf.Tensor:
        return super().queries(tf.boolean_mask(users, users > 3))  # a lookup


@pytest.fixture
def recipe_path(tmp_path: Path) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return str(path)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.recipe.yaml")), ids=lambda path: path.name)
def test_a_tpu_refuses_nothing_of_a_shipped_recipe(path: Path, events: Path) -> None:
    settings = WITHOUT_FEATURES if "user_features" in path.read_text() else ()
    recipe, dataset = load_recipe(str(path), settings), open_dataset(str(events))
    inputs, lookups = check_run(recipe, str(path), dataset), Lookups()
    trainer = planned_trainer(recipe, dataset, inputs, 100, lookups)
    # The items, of which there are 152, are a stand-in without memory, the users a variable.
    assert [isinstance(table, CoreTable) for table in trainer.model.tables] == [False, True]
    feed = Feed(dataset, recipe.training.split, recipe.training.batch_rows, inputs.names)
    traced = trace_step(trainer, batch_of_chip(feed, recipe, recipe.training.batch_rows), lookups, 8)
    assert refusals(traced.graph) == []
    own = recipe.training.batch_rows // 8
    assert [spec.shape[0] for spec in lookups.specs] == [own]
    if recipe.loss.kind == "in_batch_softmax":
        # A chip's queries are held against the candidates of all chips.
        assert (own, 8 * own) in {(product.rows, product.columns) for product in products(traced.graph, 128)}


def test_a_recipe_is_compiled_by_the_tpu_compiler(
    recipe_path: str,
    events: Path,
    tpu_compiler: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PENSTOCK_TPU", str(tpu_compiler))
    monkeypatch.setattr(check, "LEAST_ROWS_ON_CORES", 100)
    monkeypatch.setattr(check, "MEASURED_SECONDS", 0.2)
    arguments = ["tpu-check", recipe_path, "--dataset", str(events), "--topology", "v5e:2x4", "--json"]
    assert main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    compiled = found["compiled"]
    assert (compiled["chip"], compiled["jax"]) == ("TPU v5 lite", "0.10.2")
    users, items = found["tables"]
    assert (users["sharded"], items["sharded"], items["slots"]) == (False, True, 2.0)
    # Four products of a tower, forward and back, on 32 rows, and no less: 2 x 3 x 32 x (8 x 16 + 16 x 8) x 2 towers.
    assert compiled["flops"] > 2 * 3 * 32 * (8 * 16 + 16 * 8) * 2
    # Users and their slots go in and come out in place.
    assert compiled["argument_bytes"] > compiled["alias_bytes"] > users["bytes"]
    # Activations of its 32 items of 9 numbers; the ids and candidates of 224 others; gradients of the users and towers.
    towers = 2 * (8 * 16 + 16 + 16 * 8 + 8) * 4
    assert found["exchange_per_step"] == {
        "activation_bytes": 32 * 9 * 4,
        "gathered_bytes": 224 * (1 + 9) * 4,
        "summed_bytes": users["rows"] * 8 * 4 + towers,
    }
    held = sum(compiled[f"{part}_bytes"] for part in ("argument", "output", "temporary", "code"))
    assert found["hbm_bytes_per_chip"] == held - compiled["alias_bytes"] + items["bytes_per_chip"]
    bound = max(compiled["flops"] / 197e12, compiled["bytes_moved"] / 819e9)
    assert found["rows_per_second"]["needed_at_bound"] == pytest.approx(256 / bound)
    assert found["rows_per_second"]["measured"] > 0
    assert any("v5e has no SparseCores" in warning and "items" in warning for warning in found["warnings"])


def test_the_compiler_says_what_it_refuses(tpu_compiler: Path) -> None:
    def step(left: tf.Tensor, right: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        scores = tf.matmul(left, right, transpose_b=True)
        return scores, tf.nn.softmax(scores)

    side = tf.TensorSpec([65536, 8], tf.float32)
    lower = tf.function(step, jit_compile=True).experimental_get_compiler_ir(side, side)
    module = lower(stage="hlo_serialized", platform_name="CPU")
    with pytest.raises(CompilerRefused, match=r"RESOURCE_EXHAUSTED.*exceeds available HBM"):
        compile_step(tpu_compiler / "bin" / "python", parse_topology("v5e:1x1"), module)


def test_two_steps_can_be_compiled_at_once(tpu_compiler: Path) -> None:
    side = tf.TensorSpec([8, 8], tf.float32)
    function = tf.function(lambda left, right: tf.matmul(left, right), jit_compile=True)
    module = lowered(Traced(function, (side, side), None, Exchange(0, 0, 0)))
    python, topology = tpu_compiler / "bin" / "python", parse_topology("v5e:1x1")
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: compile_step(python, topology, module), range(2))
    assert first == second
    assert first.flops >= 2 * 8 * 8 * 8


def test_a_value_that_xla_needs_before_the_step_is_refused() -> None:
    def step(matrix: tf.Tensor, axis: tf.Tensor) -> tf.Tensor:
        return tf.reverse(matrix, axis)

    arguments = (tf.TensorSpec([4, 4], tf.float32), tf.TensorSpec([1], tf.int32))
    function = tf.function(step, jit_compile=True)
    graph = function.get_concrete_function(*arguments).graph
    assert refusals(graph) == []
    with pytest.raises(CompilerRefused, match=r"(?s)compile-time constant.*test_tpu_check.py"):
        lowered(Traced(function, arguments, graph, Exchange(0, 0, 0)))


def test_a_planned_table_holds_no_memory() -> None:
    lookups = Lookups()
    with tf.variable_creator_scope(table_creator(1000, lookups)):
        table, small = normal_table("users", 10**11, 64, 0.1, 1), normal_table("items", 999, 64, 0.1, 1)
    assert (table.shape, type(table), type(small)) == (tf.TensorShape([10**11, 64]), CoreTable, type(tf.Variable(0)))
    assert tf.gather(table, tf.constant([[3, 10**6]])).shape == (1, 2, 64)
    assert lookups.specs == [tf.TensorSpec([1, 2, 64], tf.float32)]


def test_what_is_refused_is_told_with_the_model_s_line(
    recipe_path: str,
    events: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _pretend_environment(tmp_path, monkeypatch)
    monkeypatch.setitem(MODELS, "two_tower", BadTower)
    monkeypatch.setattr(check, "LEAST_ROWS_ON_CORES", 100)
    monkeypatch.chdir(Path(__file__).parent)
    assert main(["tpu-check", recipe_path, "--dataset", str(events), "--topology", "v6e:2x2"]) == 1
    said = capsys.readouterr()
    lines = Path(__file__).read_text().splitlines()
    for mark, ops in (("a string", "AsString works on strings"), ("a shape", "Where makes a shape")):
        number = next(number for number, line in enumerate(lines, 1) if line.endswith(f"# {mark}"))
        place = said.out.index(f"  test_tpu_check.py:{number}\n")
        assert ops in said.out[place:]
    # All of the 32 ids that a core looks up may lie with one other, which holds 20 of the rows.
    assert re.search(r"(?m)^most that one SparseCore.*\ntable .*\nitems +32 +20 +10.2 kB$", said.out)
    assert "does not fit v6e:2x2: a TPU refuses 3 of its lines" in said.err


def test_a_lookup_of_unknown_length_is_refused(recipe_path: str, events: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "two_tower", FilteringTower)
    recipe, dataset, lookups = load_recipe(recipe_path), open_dataset(str(events)), Lookups()
    inputs = check_run(recipe, recipe_path, dataset)
    trainer = planned_trainer(recipe, dataset, inputs, 50, lookups)
    batch = batch_of_chip(Feed(dataset, "train", 256, inputs.names), recipe, 256)
    (refusal,) = refusals(trace_step(trainer, batch, lookups, 8).graph)
    assert refusal.ops == ("Where",)
    assert refusal.line is not None
    assert refusal.line.text.endswith("# a lookup")


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--topology", "v5e:2x5"], 2, "--topology v5e:2x5: no such slice; did you mean 'v5e:2x4'"),
        (["--topology", "v5e:16x16", "--set", "training.batch_rows=1000"], 1, "256 chips cannot share evenly"),
        (["--topology", "v5e:2x4", "--set", "training.epoch=1"], 2, "unknown key 'epoch'"),
    ],
)
def test_mistakes_end_before_anything_is_traced(
    recipe_path: str,
    events: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    code: int,
    message: str,
) -> None:
    _pretend_environment(tmp_path, monkeypatch)
    assert main(["tpu-check", recipe_path, "--dataset", str(events), *flags]) == code
    assert message in capsys.readouterr().err


def test_without_the_compiler_s_environment_it_says_how_to_make_it(
    recipe_path: str, events: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PENSTOCK_TPU", "absent")
    assert main(["tpu-check", recipe_path, "--dataset", str(events), "--topology", "v5e:2x4"]) == 2
    assert "absent is no environment with the TPU compiler; run make tpu" in capsys.readouterr().err


def _pretend_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name an environment whose compiler is not reached."""
    (folder / "environment/bin").mkdir(parents=True)
    (folder / "environment/bin/python").touch()
    monkeypatch.setenv("PENSTOCK_TPU", str(folder / "environment"))
    assert compiler_python() == folder / "environment/bin/python"
