"""Keep a run's loss curve, losses.jsonl: the mean loss of every so many steps, the same however the run was broken."""

from penstock_training.fitting.workdir import LOSSES_NAME, Workdir

STEPS_PER_POINT = 50


class LossCurve:
    """Hold the points of the curve, each about the steps since the point before it."""

    def __init__(self, workdir: Workdir, first_step: int) -> None:
        """Go on after `first_step`; points of later steps, which a killed run may have left, are dropped."""
        self._workdir = workdir
        self._points = workdir.lines(LOSSES_NAME, first_step)

    def add(self, step: int, loss: float) -> None:
        """Add the point at `step`."""
        self._points.append({"step": step, "loss": loss})

    def save(self) -> None:
        """Write losses.jsonl; call it before a checkpoint is saved, so that the file always covers the checkpoint."""
        self._workdir.write_lines(LOSSES_NAME, self._points)


def next_point(step: int, steps: int) -> int:
    """Return the step of the first point after `step` in a run of `steps`."""
    return min(steps, (step // STEPS_PER_POINT + 1) * STEPS_PER_POINT)


def steps_of_point(step: int) -> int:
    """Return how many steps the point at `step` is the mean of."""
    return step % STEPS_PER_POINT or STEPS_PER_POINT
