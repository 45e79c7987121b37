"""Export a run as a SavedModel from raw ids to scored raw ids, with a model.json that tells a client how to use it."""

import posixpath
from typing import Any

import numpy as np
import tensorflow as tf

from penstock_shared.errors import UserMistake
from penstock_shared.features import Feature
from penstock_training.data.vocabulary import load_tokens
from penstock_training.fitting.run import Run
from penstock_training.fitting.workdir import METRICS_NAME, Workdir, to_json, versions
from penstock_training.serving.document import FORMAT, FORMAT_VERSION, MODEL_NAME
from penstock_training.serving.lookup import Lookup
from penstock_training.serving.signature import Serving
from penstock_training.storage import check_place, exists, is_unfinished, write_text, written_whole
from penstock_training.train import restore_run

SCORE_MEANINGS = {
    "retrieval": "higher is more likely to be the user's next item; comparable between items of one user only",
    "rating": "the predicted label",
    "implicit": "the log-odds that the user acts on the item rather than on one drawn evenly",
}


def export(workdir_path: str, out: str) -> None:
    """Write the model of a run's last whole checkpoint to `out`, all of it or nothing.

    A model is complete when its model.json, which is written last, is there; what a killed export left in a bucket is
    written anew. Raises UserMistake when `out` is there already or cannot be written.
    """
    if exists(out) and not is_unfinished(out):
        raise UserMistake(f"{out}: is there already; an exported model is never overwritten, give another --out")
    workdir = Workdir(workdir_path)
    workdir.recipe()  # What is no run is refused before anything is written.
    check_place(out)
    run, _ = restore_run(workdir_path)
    serving = build_serving(run)
    with written_whole(out) as folder:
        tf.saved_model.save(serving, folder, signatures=serving.signatures())
        write_text(posixpath.join(folder, MODEL_NAME), to_json(describe(run, workdir, serving)))
    print(f"{out}: wrote a model of {serving.users.count} users and {serving.items.count} items")


def build_serving(run: Run) -> Serving:
    """Return the model with its vocabularies, ready to save."""
    scorer, inputs = run.scorer(), run.inputs
    lookups = {
        name: Lookup(load_tokens(run.dataset, name), name)
        for name in (_vocabulary(inputs.user), _vocabulary(inputs.item))
    }
    queries = scorer.queries(np.arange(inputs.user_vocabulary.size))
    return Serving(lookups[_vocabulary(inputs.user)], lookups[_vocabulary(inputs.item)], queries, scorer.candidates)


def describe(run: Run, workdir: Workdir, serving: Serving) -> dict[str, Any]:
    """Return the content of model.json."""
    inputs, manifest = run.inputs, run.dataset.manifest
    user = {
        "name": "user",
        "dtype": inputs.user_vocabulary.token_dtype,
        "shape": [None],
        "meaning": f"raw {inputs.user.name}",
    }
    item = {
        "name": "item",
        "dtype": inputs.item_vocabulary.token_dtype,
        "shape": [None],
        "meaning": f"raw {inputs.item.name}",
    }
    known = {"dtype": "bool", "shape": [None]}
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "signatures": {
            "recommend": {
                "inputs": [user, {"name": "k", "dtype": "int32", "shape": [], "meaning": "how many items"}],
                "outputs": [
                    {
                        "name": "items",
                        "dtype": item["dtype"],
                        "shape": [None, None],
                        "meaning": "best first, ties by vocabulary order",
                    },
                    {"name": "scores", "dtype": "float32", "shape": [None, None]},
                    {"name": "user_known", **known, "meaning": "false: the user got the out-of-vocabulary vector"},
                ],
            },
            "score": {
                "inputs": [user, item],
                "outputs": [
                    {"name": "scores", "dtype": "float32", "shape": [None]},
                    {"name": "user_known", **known},
                    {"name": "item_known", **known},
                ],
            },
        },
        "default_signature": "recommend",
        "score": SCORE_MEANINGS[run.recipe.task],
        "vocabularies": {
            name: manifest.vocabularies[name].model_dump(
                mode="json", include={"token_dtype", "tokens", "size", "oov_buckets", "digest"}
            )
            for name in {_vocabulary(inputs.user): None, _vocabulary(inputs.item): None}
        },
        "dataset": {"name": manifest.name, "version": manifest.version, "digest": manifest.digest},
        "step": int(run.trainer.steps_taken),
        "recipe": run.recipe.model_dump(mode="json"),
        "metrics": workdir.metrics() if exists(workdir.path(METRICS_NAME)) else None,
        "versions": versions(),
    }


def _vocabulary(feature: Feature) -> str:
    return str(feature.vocabulary)
