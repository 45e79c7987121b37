"""Define what several commands take."""

import argparse
from typing import TypeAlias

Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def positive(text: str) -> int:
    """Return a whole number of at least 1; raises ArgumentTypeError on another."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"found {number}, expected at least 1")
    return number


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
