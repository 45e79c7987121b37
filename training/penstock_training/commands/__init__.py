"""List the commands of penstock-train, one module each: its flags, and the call behind them.

TensorFlow takes seconds to import: a command imports it only when it runs, and after it has checked its flags.
"""

from collections.abc import Callable

from penstock_training.commands import (
    bench_input,
    compare,
    evaluate,
    export,
    fit,
    peek,
    recipe,
    recommend,
    sweep,
    tpu_check,
)
from penstock_training.commands.arguments import Verbs

COMMANDS: dict[str, Callable[[Verbs], None]] = {
    "fit": fit.add,
    "bench-input": bench_input.add,
    "evaluate": evaluate.add,
    "export": export.add,
    "recommend": recommend.add,
    "peek": peek.add,
    "tpu-check": tpu_check.add,
    "recipe": recipe.add,
    "sweep": sweep.add,
    "compare": compare.add,
}
