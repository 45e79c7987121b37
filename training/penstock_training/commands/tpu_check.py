"""Define `penstock-train tpu-check`: check a recipe against a TPU slice that is not there."""

import argparse

from penstock_training.commands.arguments import Verbs, add_settings

CHECK = """Check a recipe against a slice of TPUs without one: what a TPU refuses of its step, with the line that made
it, what the TPU compiler says of one chip's memory and work, how the tables lie over the chips, and the input that
steps could take beside the rate that this machine feeds.

The step is that of one chip: towers, loss, gradients and dense updates on its share of the batch. Tables of 50,000 rows
or more are sharded over the chips and looked up elsewhere, so the step takes their activations as inputs; smaller ones
are part of it. The compiler is in an environment of its own: make tpu, or PENSTOCK_TPU names it.

Exit code 1 says that the recipe does not fit: something is refused, or a chip's memory does not suffice. An input too
slow for the bound is a warning."""


def add(verbs: Verbs) -> None:
    """Add the command and its flags."""
    check = verbs.add_parser(
        "tpu-check",
        help="check a recipe against a TPU slice that is not there",
        description=CHECK,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: penstock-train tpu-check recipe.yaml --dataset data/clicks/v1/manifest.json "
        "--topology v5e:2x4",
    )
    check.add_argument("recipe", help="the recipe, a YAML file, local or gs://")
    check.add_argument(
        "--dataset", required=True, metavar="MANIFEST", help="the dataset's manifest.json, local or gs://"
    )
    check.add_argument("--topology", required=True, metavar="SLICE", help="the slice, as in v5e:2x4, v6e:4x4, v4:2x2x1")
    check.add_argument("--json", action="store_true", help="print one JSON document, for machines")
    add_settings(check)
    check.set_defaults(verb=_run)


def _run(flags: argparse.Namespace) -> None:
    from penstock_training.recipe import load_recipe
    from penstock_training.tpu_check.compile import compiler_python
    from penstock_training.tpu_check.topology import parse_topology

    parse_topology(flags.topology)
    compiler_python()
    if "://" not in flags.recipe:
        load_recipe(flags.recipe, flags.settings)

    from penstock_training.tpu_check.check import tpu_check

    tpu_check(flags.recipe, flags.dataset, flags.topology, flags.json, flags.settings)
