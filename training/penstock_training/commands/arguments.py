"""Define what several commands take."""

import argparse
from collections.abc import Sequence
from typing import TypeAlias

Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

# What those of penstock_training.strategies use, which takes TensorFlow to import.
DEVICES = {
    "one": "the first GPU or the processor (default)",
    "mirrored": "all GPUs of this machine",
    "multi-worker": "the processes that TF_CONFIG names",
    "tpu": "the TPU of this machine or TPU_NAME",
}


def positive(text: str) -> int:
    """Return a whole number of at least 1; raises ArgumentTypeError on another."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number of at least 1")
    return int(text)


def add_settings(command: argparse.ArgumentParser) -> None:
    """Add the flag that sets values of a recipe."""
    command.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="A.B=VALUE",
        help="set a value of the recipe, in YAML, as in --set training.epochs=3 (may be given several times)",
    )


def add_cache(command: argparse.ArgumentParser) -> None:
    """Add the flag that names a folder for copies of shards."""
    command.add_argument(
        "--cache",
        metavar="FOLDER",
        help="copy the shards that are read to this folder of a local disk first, once for all runs that name it, as "
        "many as fit; for datasets in buckets",
    )


def add_strategy(command: argparse.ArgumentParser, strategies: Sequence[str]) -> None:
    """Add the flags that say on which devices to train; `strategies` are those to choose from, the default first."""
    said = "; ".join(f"{name}, {DEVICES[name]}" for name in strategies)
    command.add_argument(
        "--strategy",
        choices=strategies,
        default=strategies[0],
        help=f"the devices: {said}. A run may continue by another strategy",
    )
    command.add_argument(
        "--replicas",
        type=positive,
        metavar="N",
        help="of --strategy mirrored: the first N GPUs, or N virtual devices where there is no GPU",
    )
