"""Ask an exported model for a user's best items, and print them."""

import json
import posixpath
import sys
from typing import Any

import tensorflow as tf
from rich.console import Console
from rich.table import Table

from penstock_shared.errors import DataRefused, UserMistake
from penstock_training.storage import UNREACHABLE, exists, read_text

# The file's name in an exported model; this module reads what any client would.
MODEL_NAME = "model.json"


def recommend(model_path: str, user: str, k: int) -> None:
    """Print the k best items of a raw user id with their scores; an unknown user is said to be so on stderr.

    Raises UserMistake when `model_path` is no exported model or the id is not of the vocabulary's type.
    """
    described = _describe(model_path)
    try:
        model = tf.saved_model.load(model_path)
    except UNREACHABLE:
        raise
    except (OSError, tf.errors.OpError) as fault:
        raise DataRefused(
            f"{model_path}: cannot be loaded: {str(fault).splitlines()[0]}; export the run again"
        ) from None
    answer = model.signatures["recommend"](user=_user(user, described), k=tf.constant(k))
    if not answer["user_known"][0]:
        print(f"user {user} is not in the vocabulary: these are the items for any unknown user", file=sys.stderr)
    table = Table("item", "score")
    for item, score in zip(answer["items"][0].numpy(), answer["scores"][0].numpy(), strict=True):
        table.add_row(item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item), f"{score:.4f}")
    Console().print(table, markup=False)


def _describe(model_path: str) -> dict[str, Any]:
    path = posixpath.join(model_path, MODEL_NAME)
    if not exists(path):
        raise UserMistake(
            f"{model_path}: is not an exported model: it has no {MODEL_NAME}; give the --out of penstock-train export"
        )
    try:
        described: dict[str, Any] = json.loads(read_text(path))
    except ValueError as fault:
        raise DataRefused(f"{path}: not JSON ({fault}); export the run again") from None
    return described


def _user(user: str, described: dict[str, Any]) -> tf.Tensor:
    dtype = next(entry["dtype"] for entry in described["signatures"]["recommend"]["inputs"] if entry["name"] == "user")
    if dtype == "string":
        return tf.constant([user.encode()])
    try:
        return tf.constant([int(user)], tf.int64)
    except (ValueError, OverflowError):
        message = f"--user: found {user!r}, expected an int64, the type of the users this model was trained on"
        raise UserMistake(message) from None
