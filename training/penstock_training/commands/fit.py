"""Define `penstock-train fit`: train by a recipe."""

import argparse

from penstock_training.commands.arguments import (
    DEVICES,
    Verbs,
    add_cache,
    add_settings,
    add_strategy,
    cache_of,
    check_cache,
)


def add(verbs: Verbs) -> None:
    """Add the command and its flags."""
    fit = verbs.add_parser(
        "fit",
        help="train by a recipe; run again to continue after an interruption",
        description="Train a model by a recipe on a dataset. Run again, an interrupted run continues.",
        epilog="example: penstock-train fit recipe.yaml --dataset data/clicks/v1/manifest.json --workdir runs/first",
    )
    fit.add_argument("recipe", help="the recipe, a YAML file, local or gs://")
    fit.add_argument("--dataset", required=True, metavar="MANIFEST", help="the dataset's manifest.json, local or gs://")
    fit.add_argument("--workdir", required=True, metavar="RUN", help="the run's folder; made if it is not there")
    fit.add_argument(
        "--from",
        dest="source",
        metavar="RUN1",
        help="start from this run's last checkpoint; MANIFEST is its dataset or was appended to it",
    )
    add_cache(fit)
    add_strategy(fit, tuple(DEVICES))
    add_settings(fit)
    fit.set_defaults(verb=_run)


def _run(flags: argparse.Namespace) -> None:
    from penstock_training.recipe import load_recipe

    check_cache(flags)
    if "://" not in flags.recipe:
        load_recipe(flags.recipe, flags.settings)

    from penstock_training.fitting.faults import traceback_kept
    from penstock_training.fitting.workdir import Workdir
    from penstock_training.train import fit

    with traceback_kept(Workdir(flags.workdir)):
        fit(
            flags.recipe,
            flags.dataset,
            flags.workdir,
            flags.source,
            flags.settings,
            cache_of(flags),
            flags.strategy,
            flags.replicas,
        )
