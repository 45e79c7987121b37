"""Define `penstock-train bench-input`: measure the input alone."""

import argparse

from penstock_training.commands.arguments import Verbs, add_cache, add_settings, cache_of, check_cache, positive


def add(verbs: Verbs) -> None:
    """Add the command and its flags."""
    bench = verbs.add_parser(
        "bench-input",
        help="measure how fast a recipe's training batches come, without training",
        description="Read, shuffle and unpack a recipe's training batches, as fit would, and throw them away. A step "
        "that takes longer than a batch does not wait for its input.",
        epilog="example: penstock-train bench-input recipe.yaml --dataset data/clicks/v1/manifest.json",
    )
    bench.add_argument("recipe", help="the recipe, a YAML file, local or gs://")
    bench.add_argument("--dataset", required=True, metavar="MANIFEST", help="the dataset's manifest.json")
    bench.add_argument("--seconds", type=positive, default=10, help="measure for so long (default: 10)")
    bench.add_argument("--json", action="store_true", help="print one JSON document, for machines")
    add_cache(bench)
    add_settings(bench)
    bench.set_defaults(verb=_run)


def _run(flags: argparse.Namespace) -> None:
    from penstock_training.recipe import load_recipe

    check_cache(flags)
    if "://" not in flags.recipe:
        load_recipe(flags.recipe, flags.settings)

    from penstock_training.data.bench_input import bench_input

    bench_input(flags.recipe, flags.dataset, flags.settings, cache_of(flags), flags.seconds, flags.json)
