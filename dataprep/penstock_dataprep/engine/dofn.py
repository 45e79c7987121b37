"""Run steps as Beam DoFns: one element at a time, or several at once in threads.

The in-process runner runs one element at a time; its own threads talk over loopback gRPC, which costs copies and has
been seen to wait for ever. The work of a step is numpy and Arrow, which let go of the interpreter's lock, so the
threads are here, and serve on any runner.
"""

import functools
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from penstock_dataprep.engine.memory import keep_freed_memory
from penstock_dataprep.engine.refusal import reporting
from penstock_dataprep.job import Job

StepFunction = Callable[..., Iterator[Any]]
# One more than there are cores, so that none is idle while a shard is flushed to disk.
THREADS = (os.cpu_count() or 1) + 1


@functools.cache
def _pool() -> ThreadPoolExecutor:
    """Return the threads of this process, which steps that run at the same time share."""
    return ThreadPoolExecutor(THREADS)


class Step(beam.DoFn):
    """Run a step for one element after the other, and hand on what it yields at once."""

    def __init__(self, function: StepFunction, job: Job) -> None:
        super().__init__()
        self.function = function
        self.job = job

    def process(self, element: Any, *side_inputs: Any) -> Iterator[Any]:
        """Yield what the step yields for `element`."""
        yield from reporting(self.function, self.job, element, side_inputs)


class ThreadedStep(Step):
    """Run a step for up to THREADS elements at once; results come in the order of the elements, some elements late."""

    def setup(self) -> None:
        """Prepare the process for steps in threads."""
        keep_freed_memory()

    def start_bundle(self) -> None:
        """Begin with nothing under way."""
        self._under_way: deque[Future[list[Any]]] = deque()

    def process(self, element: Any, *side_inputs: Any) -> Iterator[Any]:
        """Start on `element`, and yield what an earlier one gave when enough are under way."""
        while len(self._under_way) >= THREADS:
            yield from self._under_way.popleft().result()
        self._under_way.append(_pool().submit(self._run, element, side_inputs))

    def finish_bundle(self) -> Iterator[Any]:
        """Yield what is left."""
        while self._under_way:
            for value in self._under_way.popleft().result():
                yield _in_global_window(value)

    def _run(self, element: Any, side_inputs: tuple[Any, ...]) -> list[Any]:
        return list(reporting(self.function, self.job, element, side_inputs))


def _in_global_window(value: Any) -> Any:
    """Return an output as finish_bundle must give it: with its window, inside its tag."""
    window = GlobalWindow()
    if isinstance(value, beam.pvalue.TaggedOutput):
        return beam.pvalue.TaggedOutput(value.tag, WindowedValue(value.value, window.start, [window]))
    return WindowedValue(value, window.start, [window])
