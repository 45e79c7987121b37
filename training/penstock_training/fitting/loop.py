"""Train and evaluate epoch by epoch: a few steps per call into the graph, between which the run can be saved."""

import time

import tensorflow as tf

from penstock_training.data.damage import reading
from penstock_training.fitting.checkpoint import Checkpoints
from penstock_training.fitting.curve import LossCurve, next_point, steps_of_point
from penstock_training.fitting.faults import RunTimeFault
from penstock_training.fitting.preemption import Preempted, Preemption
from penstock_training.fitting.progress import TrainingProgress, share
from penstock_training.fitting.run import Run
from penstock_training.fitting.trouble import at_batch, not_finite
from penstock_training.fitting.workdir import HISTORY_NAME, Workdir

# A call cannot be interrupted: SIGTERM has to wait for its end.
SECONDS_PER_CALL = 1.0


class TrainingLoop:
    """Take a run from the step it is at to its end; its position is (epoch, step), computed from the steps taken."""

    def __init__(self, run: Run, workdir: Workdir, checkpoints: Checkpoints, progress: TrainingProgress) -> None:
        """Rewind the loss curve and the history of metrics to the step that the run is at."""
        self.run, self.workdir, self.checkpoints, self.progress = run, workdir, checkpoints, progress
        self.preemption = Preemption()
        self._saved_step = self.step
        self._curve = LossCurve(workdir, self.step)
        self._history = workdir.lines(HISTORY_NAME, self.step)
        leads, logs = run.placement.leads, workdir.tensorboard
        self._summaries = tf.summary.create_file_writer(logs) if leads else tf.summary.create_noop_writer()

    @property
    def step(self) -> int:
        """Return the steps taken."""
        return int(self.run.trainer.steps_taken.numpy())

    def train(self) -> None:
        """Train to the last step and save it, evaluating after the epochs that the recipe says.

        SIGTERM saves the step that is reached and raises Preempted. Raises NotFinite when the loss is no number.
        """
        epochs, every = self.run.recipe.training.epochs, self.run.recipe.evaluation.every_epochs
        with self.preemption.watched():
            try:
                for epoch in range(max(0, self.step - 1) // self.run.steps_per_epoch, epochs):
                    self._train_epoch(epoch)
                    if every and (epoch + 1) % every == 0 and epoch + 1 < epochs:
                        with self.preemption.at_once():
                            self._evaluate(epoch + 1)
            except Preempted:
                self._save()
                self.run.placement.wait()
                raise Preempted(
                    f"{self.workdir.folder}: told to stop by SIGTERM: saved step {self.step} of {self.run.steps}; "
                    "run the same command again to continue"
                ) from None

    def _train_epoch(self, epoch: int) -> None:
        run, training, trainer = self.run, self.run.recipe.training, self.run.trainer
        step, end, every = self.step, (epoch + 1) * run.steps_per_epoch, training.checkpoint_every_steps
        if step == end:
            return
        with reading(run.dataset, training.split), self._summaries.as_default():
            first = step - epoch * run.steps_per_epoch
            feed, window_blocks, opened = run.feed, training.window_blocks, time.perf_counter()
            host = run.placement.host
            read = feed.training_batches(training.seed, epoch, first, window_blocks, training.lanes, host)
            batches = trainer.placed(read)
            opening = time.perf_counter() - opened
            steps_per_second, waited, worked = 1.0, opening, opening
            self.progress.wait(opening)
            while step < end:
                # Hosts stop, and call into the graph, together.
                asked, wanted = self._agreed(max(1, int(steps_per_second * SECONDS_PER_CALL)))
                if asked:
                    raise Preempted
                point, save = next_point(step, run.steps), (step // every + 1) * every
                steps = min(point - step, end - step, save - step, wanted)
                started = time.perf_counter()
                try:
                    done = trainer.run(batches, steps)
                except RunTimeFault as fault:
                    raise at_batch(fault, run, step) from fault.__cause__
                seconds = time.perf_counter() - started
                steps_per_second = steps / seconds
                waited, worked = waited + done.input_wait_seconds, worked + seconds
                if done.first_bad_step is not None:
                    raise not_finite(run, self.checkpoints, done.first_bad_step)
                step += steps
                self.progress.update(step, done.mean_loss, done.input_wait_seconds)
                if step == point:
                    self._add_point(step)
                    tf.summary.scalar("input_wait_share", share(waited, worked), step)
                    waited, worked = 0.0, 0.0
                if step in (save, run.steps):
                    self._save()

    def _agreed(self, steps: int) -> tuple[bool, int]:
        """Return whether any host was asked to stop, and the steps that all hosts take next."""
        shared = self.run.placement.share([self.preemption.asked, steps])
        return bool(shared[:, 0].any()), int(shared[:, 1].min())

    def _add_point(self, step: int) -> None:
        loss = self.run.trainer.take_loss() / steps_of_point(step)
        self._curve.add(step, loss)
        tf.summary.scalar("loss", loss, step)

    def _save(self) -> None:
        if self.run.placement.leads and self._saved_step != self.step:
            self._curve.save()
            self.checkpoints.save(self.step)
            self._saved_step = self.step

    def _evaluate(self, epoch: int) -> None:
        run, step = self.run, self.step
        if not run.placement.leads or any(line["step"] == step for line in self._history):
            return
        result = run.evaluator.evaluate(run.scorer())
        values = {name: value for name, (value, _) in result.metrics.items()}
        self._history.append({"step": step, "epoch": epoch, **values, "stamp": result.stamp})
        self.workdir.write_lines(HISTORY_NAME, self._history)
        with self._summaries.as_default():
            for name, value in values.items():
                tf.summary.scalar(name.replace("@", "_at_"), value, step)
        shown = "  ".join(f"{name} {value:.4f}" for name, value in values.items())
        self.progress.say(f"epoch {epoch}/{run.recipe.training.epochs}  {shown}")
