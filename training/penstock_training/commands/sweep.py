"""Define `penstock-train sweep`: search over a recipe."""

import argparse

from penstock_training.commands.arguments import Verbs, add_cache, add_strategy, cache_of, check_cache

# One sweep is of one process, so that there is no multi-worker.
STRATEGIES = ("one", "mirrored", "tpu")


def add(verbs: Verbs) -> None:
    """Add the command and its flags."""
    sweep = verbs.add_parser(
        "sweep",
        help="train a recipe with many settings, and say which is best",
        description="Train a recipe with many settings, on a grid or drawn at random, each in a process and run folder "
        "of its own, and print them with their metric, best first; sweep.json in the folder is for machines. Run "
        "again, finished trials are kept and an interrupted one continues; the sweep file may change in between. A "
        "trial whose loss diverges is shown as such; one that failed otherwise is tried again with the next run.",
        epilog="example: penstock-train sweep clicks.sweep.yaml --dataset data/clicks/v1/manifest.json --out sweeps/1",
    )
    sweep.add_argument("sweep", help="the sweep file, YAML, local or gs://")
    sweep.add_argument(
        "--dataset", required=True, metavar="MANIFEST", help="the dataset's manifest.json, local or gs://"
    )
    sweep.add_argument("--out", required=True, metavar="FOLDER", help="the sweep's folder; made if it is not there")
    add_cache(sweep)
    add_strategy(sweep, STRATEGIES)
    sweep.set_defaults(verb=_run)


def _run(flags: argparse.Namespace) -> None:
    from penstock_training.sweep.trials import load_sweep

    check_cache(flags)
    if "://" not in flags.sweep:
        load_sweep(flags.sweep)

    from penstock_training.sweep.search import search

    search(flags.sweep, flags.dataset, flags.out, cache_of(flags), flags.strategy, flags.replicas)
