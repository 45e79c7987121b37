"""Define what several commands take."""

import argparse
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from penstock_shared.errors import UserMistake

if TYPE_CHECKING:
    from penstock_training.data.cache import Cache

Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

# What those of penstock_training.strategies use, which takes TensorFlow to import.
DEVICES = {
    "one": "the first GPU or the processor (default)",
    "mirrored": "all GPUs of this machine",
    "multi-worker": "the processes that TF_CONFIG names",
    "tpu": "the TPU of this machine or TPU_NAME",
}

PREFIXES = ("", "K", "M", "G", "T", "P")
SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([KMGTP]?)(I?)B?")


def positive(text: str) -> int:
    """Return a whole number of at least 1; raises ArgumentTypeError on another."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number of at least 1")
    return int(text)


def size_in_bytes(text: str) -> int:
    """Return the bytes that a text such as 200GB, 1.5TiB or 1000 says; raises ArgumentTypeError on another."""
    found = SIZE.fullmatch(text.strip().upper())
    if found is None:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a size such as 200GB, 1.5TB or 64GiB")
    number, prefix, binary = found.groups()
    return int(float(number) * (1024 if binary else 1000) ** PREFIXES.index(prefix))


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
    command.add_argument(
        "--cache-size",
        type=size_in_bytes,
        metavar="SIZE",
        help="keep --cache within this size, such as 200GB or 1.5TB: copies that no run reads are removed, those "
        "unused for longest first (default: none is)",
    )


def cache_of(flags: argparse.Namespace) -> "Cache | None":
    """Return the folder for copies that the flags name, None where they name none."""
    from penstock_training.data.cache import Cache

    return None if flags.cache is None else Cache(flags.cache, flags.cache_size)


def check_cache(flags: argparse.Namespace) -> None:
    """Raise UserMistake where a size is given for no folder."""
    if flags.cache_size is not None and flags.cache is None:
        raise UserMistake("--cache-size: says how large --cache FOLDER may become; give --cache too, or leave it out")


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
