"""Fit a recipe to a dataset: check, set up, resume, train epoch by epoch, evaluate, report."""

import sys

import tensorflow as tf

from penstock_shared.errors import UserMistake
from penstock_training.checkpoint import Checkpoints
from penstock_training.damage import reading
from penstock_training.dataset import open_dataset
from penstock_training.evaluate import Result
from penstock_training.grow import check_source, grow
from penstock_training.progress import TrainingProgress
from penstock_training.recipe import parse_recipe
from penstock_training.report import print_results, results_document
from penstock_training.run import Run, build_run, check_run, make_deterministic
from penstock_training.step import NotFinite
from penstock_training.storage import write_text
from penstock_training.workdir import METRICS_NAME, RECIPE_NAME, Workdir, read_recipe_file, to_json

# Steps of one call into the graph, and between two points of the loss curve.
STEPS_PER_CALL = 50


def fit(recipe_path: str, manifest_path: str, workdir_path: str, source_path: str | None = None) -> None:
    """Train and evaluate; run again on the same workdir, continue from its last checkpoint.

    A new run starts from the last checkpoint of the run in `source_path`, where it is given. Raises UserMistake or
    DataRefused before training where recipe, dataset, workdir and source do not go together.
    """
    # 1. Check, before anything expensive.
    recipe = parse_recipe(read_recipe_file(recipe_path), recipe_path)
    dataset = open_dataset(manifest_path)
    inputs = check_run(recipe, recipe_path, dataset)
    if source_path is not None:
        check_source(Workdir(source_path), recipe, recipe_path, dataset, inputs)
    workdir = Workdir(workdir_path)
    workdir.claim(recipe, dataset, source_path)

    # 2. Set up.
    make_deterministic(recipe.training.seed)
    run = build_run(recipe, dataset, inputs)
    checkpoints = Checkpoints(workdir.checkpoints, run.trainer.checkpoint, recipe.training.keep_checkpoints)

    # 3. Resume, or start from another run.
    if (source := workdir.source()) and not checkpoints.steps():
        grow(run.trainer, source, _warn)
        checkpoints.save(0)  # What the other run does from now on is nothing to this one.
    first_step = checkpoints.restore(_warn)
    with TrainingProgress(run.steps, first_step, recipe.training.batch_rows) as progress:
        if first_step:
            progress.say(f"{workdir.folder}: continuing after step {first_step} of {run.steps}")
            workdir.write_history(line for line in workdir.history() if line["step"] <= first_step)

        # 4. Train epoch by epoch.
        summaries = tf.summary.create_file_writer(workdir.tensorboard)
        for epoch in range(max(0, first_step - 1) // run.steps_per_epoch, recipe.training.epochs):
            _train_epoch(run, epoch, checkpoints, progress, summaries)
            if _is_due(epoch + 1, recipe.evaluation.every_epochs) and epoch + 1 < recipe.training.epochs:
                _evaluate_epoch(run, epoch + 1, workdir, progress, summaries)

    # 5. Evaluate and report.
    evaluate_run(run, workdir)


def evaluate(workdir_path: str) -> None:
    """Evaluate a run's last whole checkpoint."""
    run, workdir = restore_run(workdir_path)
    evaluate_run(run, workdir)


def restore_run(workdir_path: str) -> tuple[Run, Workdir]:
    """Set up a run as its last whole checkpoint left it; raises UserMistake when there is none."""
    workdir = Workdir(workdir_path)
    recipe, dataset = workdir.recipe(), workdir.dataset()
    run = build_run(recipe, dataset, check_run(recipe, workdir.path(RECIPE_NAME), dataset))
    checkpoints = Checkpoints(workdir.checkpoints, run.trainer.checkpoint, recipe.training.keep_checkpoints)
    checkpoints.restore(_warn)
    if not checkpoints.steps():
        raise UserMistake(f"{workdir.folder}: has no checkpoint yet; run penstock-train fit first")
    return run, workdir


def evaluate_run(run: Run, workdir: Workdir) -> list[Result]:
    """Evaluate the model and the baselines, print them side by side, write metrics.json."""
    scorers = [run.scorer(), *run.evaluator.baselines()]
    results = [run.evaluator.evaluate(scorer) for scorer in scorers]
    document = results_document(results, run.evaluator.protocol, int(run.trainer.steps_taken))
    write_text(workdir.path(METRICS_NAME), to_json(document))
    print_results(results, run.evaluator.protocol)
    return results


def _train_epoch(
    run: Run, epoch: int, checkpoints: Checkpoints, progress: TrainingProgress, summaries: tf.summary.SummaryWriter
) -> None:
    training, trainer = run.recipe.training, run.trainer
    step, end = int(trainer.steps_taken), (epoch + 1) * run.steps_per_epoch
    if step == end:
        return
    first = step - epoch * run.steps_per_epoch
    with reading(run.dataset, training.split), summaries.as_default():
        batches = iter(run.feed.training_batches(training.seed, epoch, first, training.window_blocks))
        while step < end:
            next_checkpoint = (step // training.checkpoint_every_steps + 1) * training.checkpoint_every_steps
            done = trainer.run(batches, min(STEPS_PER_CALL, end - step, next_checkpoint - step))
            if done.first_bad_step is not None:
                raise _not_finite(done.first_bad_step, checkpoints)
            step = int(trainer.steps_taken)
            progress.update(step, done.mean_loss)
            tf.summary.scalar("loss", done.mean_loss, step)
            if step == next_checkpoint or step == run.steps:
                checkpoints.save(step)


def _evaluate_epoch(
    run: Run, epoch: int, workdir: Workdir, progress: TrainingProgress, summaries: tf.summary.SummaryWriter
) -> None:
    step, history = int(run.trainer.steps_taken), workdir.history()
    if any(line["step"] == step for line in history):
        return
    result = run.evaluator.evaluate(run.scorer())
    values = {name: value for name, (value, _) in result.metrics.items()}
    workdir.write_history([*history, {"step": step, "epoch": epoch, **values, "stamp": result.stamp}])
    with summaries.as_default():
        for name, value in values.items():
            tf.summary.scalar(name.replace("@", "_at_"), value, step)
    shown = "  ".join(f"{name} {value:.4f}" for name, value in values.items())
    progress.say(f"epoch {epoch}/{run.recipe.training.epochs}  {shown}")


def _warn(warning: str) -> None:
    print(warning, file=sys.stderr)


def _is_due(epoch: int, every_epochs: int) -> bool:
    return every_epochs > 0 and epoch % every_epochs == 0


def _not_finite(step: int, checkpoints: Checkpoints) -> NotFinite:
    saved = checkpoints.steps()
    last_good = f"the last good checkpoint is {checkpoints.path(saved[0])}" if saved else "there is no checkpoint yet"
    return NotFinite(
        f"step {step}: the loss is not a finite number; {last_good}; "
        "lower optimizer.*.learning_rate and fit into a new --workdir"
    )
