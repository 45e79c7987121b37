"""Check a recipe against a TPU slice: trace, refuse, plan, compile, bound, report."""

import json
import sys

from penstock_shared.errors import PenstockError
from penstock_training.data.bench_input import measure
from penstock_training.data.damage import reading
from penstock_training.data.dataset import open_dataset
from penstock_training.data.feed import Feed
from penstock_training.data.vocabulary import load_counts
from penstock_training.fitting.run import check_run
from penstock_training.fitting.step import Trainer
from penstock_training.optimizers import table_key
from penstock_training.recipe import load_recipe
from penstock_training.tpu.configs import name_lookups
from penstock_training.tpu.draws import table_draws
from penstock_training.tpu.ids import batch_of_chip
from penstock_training.tpu.limits import Limits, table_limits, uneven
from penstock_training.tpu.stand_in import LEAST_ROWS_ON_CORES, CoreTable, Lookups
from penstock_training.tpu_check.compile import Compiled, CompilerRefused, compile_step, compiler_python
from penstock_training.tpu_check.findings import Findings
from penstock_training.tpu_check.plan import TablePlan
from penstock_training.tpu_check.refused import refusals
from penstock_training.tpu_check.report import document, lines
from penstock_training.tpu_check.roofline import roofline
from penstock_training.tpu_check.tiles import products
from penstock_training.tpu_check.topology import Topology, parse_topology
from penstock_training.tpu_check.trace import lowered, planned_trainer, trace_step

MEASURED_SECONDS = 3.0


class Misfit(PenstockError):
    """Say that a recipe cannot run on a slice."""


def tpu_check(recipe_path: str, manifest_path: str, topology_name: str, as_json: bool, settings: list[str]) -> None:
    """Print what a slice refuses of the recipe's step and what it takes of a chip.

    Raises UserMistake and DataRefused as fit does before it trains, and Misfit where the recipe cannot run there.
    """
    # 1. Check, before anything expensive.
    topology, python = parse_topology(topology_name), compiler_python()
    recipe = load_recipe(recipe_path, settings)
    dataset = open_dataset(manifest_path)
    inputs = check_run(recipe, recipe_path, dataset)
    batch_rows = recipe.training.batch_rows
    if batch_rows % topology.chips:
        raise Misfit(
            f"{recipe_path}: training.batch_rows is {batch_rows}, which {topology.chips} chips cannot share evenly; "
            f"take a multiple of {8 * topology.chips}"
        )

    # 2. Trace a chip's step; collect all that is refused.
    _say("tracing a chip's step")
    feed = Feed(dataset, recipe.training.split, batch_rows, inputs.names)
    lookups = Lookups()
    trainer = planned_trainer(recipe, dataset, inputs, LEAST_ROWS_ON_CORES, lookups)
    traced = trace_step(trainer, batch_of_chip(feed, recipe, batch_rows), lookups, topology.chips)
    refused = refusals(traced.graph)
    asked, cores = name_lookups(lookups.counted), topology.chip.sparse_cores
    limits: dict[str, Limits] = {}
    if cores:
        counts = [load_counts(dataset, str(feature.vocabulary)) for feature in (inputs.user, inputs.item)]
        limits = table_limits(asked, table_draws(recipe, inputs, *counts), cores, topology.chips)

    # 3. Compile it, and bound its time.
    compiled: Compiled | None = None
    words: str | None = None
    if not refused:
        _say(f"compiling it for {topology.name}")
        try:
            compiled = compile_step(python, topology, lowered(traced))
        except CompilerRefused as fault:
            words = str(fault)
    bound = None if compiled is None else roofline(compiled.flops, compiled.bytes_moved, topology.chip)

    # 4. Measure the input, and report.
    _say("measuring the input")
    with reading(dataset, recipe.training.split):
        measured = measure(recipe, dataset, inputs.names, MEASURED_SECONDS)
    found = Findings(
        recipe_path=recipe_path,
        topology=topology,
        batch_rows=batch_rows,
        table_optimizer=recipe.optimizer.embeddings.kind,
        tables=plan_tables(trainer, topology, limits),
        uneven=uneven(asked, cores) if cores else None,
        exchange=traced.exchange,
        products=products(traced.graph, topology.chip.matrix_width),
        refusals=refused,
        compiler_words=words,
        compiled=compiled,
        bound=bound,
        measured_rows_per_second=measured.rows_per_second,
    )
    print(json.dumps(document(found)) if as_json else "\n".join(lines(found)))
    if found.misfits:
        raise Misfit(f"{recipe_path} does not fit {topology.name}: {'; '.join(found.misfits)}")


def _say(what: str) -> None:
    print(f"tpu-check: {what}", file=sys.stderr, flush=True)


def plan_tables(trainer: Trainer, topology: Topology, limits: dict[str, Limits]) -> list[TablePlan]:
    """Return where each table goes, as it was traced; the `limits` are those of SparseCores, by the table's name."""
    plans = []
    for table in trainer.model.tables:
        slots = trainer.row_optimizer.slots.get(table_key(table))
        plans.append(
            TablePlan(
                name=table_key(table),
                rows=table.shape[0],
                width=table.shape[1],
                slots=0.0 if slots is None else slots.shape[1] / table.shape[1],
                sharded=isinstance(table, CoreTable),
                chips=topology.chips,
                cores_per_chip=topology.chip.sparse_cores,
                limits=limits.get(table_key(table)),
            )
        )
    return plans
