"""Fit a recipe to a dataset: check, set up, resume, train epoch by epoch, evaluate, report."""

import sys
from collections.abc import Sequence
from contextlib import ExitStack

from penstock_shared.errors import UserMistake
from penstock_training.data.cache import Cache, cached
from penstock_training.data.dataset import open_dataset
from penstock_training.evaluation.evaluate import Result, check_questions
from penstock_training.evaluation.report import print_results, results_document
from penstock_training.fitting.checkpoint import Checkpoints
from penstock_training.fitting.grow import check_source, grow
from penstock_training.fitting.loop import TrainingLoop
from penstock_training.fitting.progress import TrainingProgress
from penstock_training.fitting.run import Run, build_run, check_run, make_deterministic
from penstock_training.fitting.workdir import RECIPE_NAME, Workdir, to_json
from penstock_training.lock import locked
from penstock_training.recipe import load_recipe
from penstock_training.storage import write_text
from penstock_training.strategies import place
from penstock_training.strategies.multi_worker import others_heard
from penstock_training.tpu.optimizers import check_tpu_optimizer


def fit(
    recipe_path: str,
    manifest_path: str,
    workdir_path: str,
    source_path: str | None = None,
    settings: Sequence[str] = (),
    cache: Cache | None = None,
    strategy: str = "one",
    replicas: int | None = None,
) -> None:
    """Train and evaluate; run again on the same workdir, continue from its last checkpoint.

    A new run starts from the last checkpoint of the run in `source_path`, where it is given. Shards are read from
    copies in `cache`, where one is given. `strategy` names one of STRATEGIES, which may be another each
    time. Raises UserMistake or DataRefused before training where recipe, dataset, workdir, source and devices do not
    go together.
    """
    # 1. Check, before anything expensive.
    recipe = load_recipe(recipe_path, settings)
    dataset = open_dataset(manifest_path)
    inputs = check_run(recipe, recipe_path, dataset)
    if source_path is not None:
        check_source(Workdir(source_path), recipe, recipe_path, dataset, inputs)
    if strategy == "tpu":
        check_tpu_optimizer(recipe, recipe_path)
    placement = place(strategy, replicas, recipe.training.batch_rows)
    # Reads rows, and devices are placed before TensorFlow computes anything.
    check_questions(recipe, dataset, inputs)
    workdir = Workdir(workdir_path)
    with others_heard(placement), ExitStack() as held:
        if placement.leads:
            workdir.claim(recipe, dataset, source_path)
            held.enter_context(locked(workdir.folder, "fit"))
        placement.wait()
        workdir.check(recipe, dataset, source_path)

        # 2. Set up.
        if cache is not None:
            dataset = cached(dataset, {recipe.training.split, recipe.evaluation.split}, cache, _warn)
        make_deterministic(recipe.training.seed)
        run = build_run(recipe, dataset, inputs, placement)
        checkpoints = _checkpoints(run, workdir)

        # 3. Resume, or start from another run.
        if placement.leads and (source := workdir.source()) and not checkpoints.steps():
            grow(run.trainer, source, _warn)
            checkpoints.save(0)  # What the other run does from now on is nothing to this one.
        placement.wait()
        first_step = checkpoints.restore(_warn)
        placement.agree(first_step, f"{workdir.folder}: the step of its last checkpoint")
        with TrainingProgress(run.steps, first_step, recipe.training.batch_rows, placement.leads) as progress:
            if first_step:
                progress.say(f"{workdir.folder}: continuing after step {first_step} of {run.steps}")

            # 4. Train epoch by epoch.
            TrainingLoop(run, workdir, checkpoints, progress).train()

        # 5. Evaluate and report.
        if placement.leads:
            evaluate_run(run, workdir)
        placement.wait()


def evaluate(workdir_path: str, split: str | None = None) -> None:
    """Evaluate a run's last whole checkpoint, on another split than its recipe's where one is named."""
    run, workdir = restore_run(workdir_path, split)
    evaluate_run(run, workdir)


def restore_run(workdir_path: str, split: str | None = None) -> tuple[Run, Workdir]:
    """Set up a run as its last whole checkpoint left it; raises UserMistake when there is none."""
    workdir = Workdir(workdir_path)
    recipe, dataset = workdir.recipe(), workdir.dataset()
    if split is not None:
        recipe = recipe.judged_on(split)
    run = build_run(recipe, dataset, check_run(recipe, workdir.path(RECIPE_NAME), dataset))
    checkpoints = _checkpoints(run, workdir)
    checkpoints.restore(_warn)
    if not checkpoints.steps():
        raise UserMistake(f"{workdir.folder}: has no checkpoint yet; run penstock-train fit first")
    return run, workdir


def evaluate_run(run: Run, workdir: Workdir) -> list[Result]:
    """Evaluate the model and the baselines, print them side by side, write them to the workdir."""
    scorers = [run.scorer(), *run.evaluator.baselines()]
    results = [run.evaluator.evaluate(scorer) for scorer in scorers]
    document = results_document(results, run.evaluator.protocol, int(run.trainer.steps_taken.numpy()))
    write_text(workdir.metrics_path(run.recipe.evaluation.split), to_json(document))
    print_results(results, run.evaluator.protocol)
    return results


def _checkpoints(run: Run, workdir: Workdir) -> Checkpoints:
    keep = run.recipe.training.keep_checkpoints
    return Checkpoints(workdir.checkpoints, run.trainer.state, keep, workdir.identity())


def _warn(warning: str) -> None:
    print(warning, file=sys.stderr)
