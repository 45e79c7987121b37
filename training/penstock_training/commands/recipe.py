"""Define `penstock-train recipe`: show what a run would really use."""

import argparse
import json

from penstock_training.commands.arguments import Verbs, add_settings


def add(verbs: Verbs) -> None:
    """Add the command and its flags."""
    recipe = verbs.add_parser(
        "recipe",
        help="print a recipe as fit would take it",
        description="Print a recipe as fit would take it: with the recipes it starts from, settings and all defaults. "
        "What is printed is a recipe again.",
        epilog="example: penstock-train recipe recipe.yaml --set model.dimension=64",
    )
    recipe.add_argument("recipe", help="the recipe, a YAML file, local or gs://")
    recipe.add_argument("--origins", action="store_true", help="print each value with the file or flag it comes from")
    add_settings(recipe)
    recipe.set_defaults(verb=_run)


def _run(flags: argparse.Namespace) -> None:
    from penstock_training.recipe import dump_recipe, load_recipe
    from penstock_training.recipe.load import recipe_origins

    if flags.origins:
        said = [
            (f"{key}: {json.dumps(value)}", where) for key, value, where in recipe_origins(flags.recipe, flags.settings)
        ]
        width = max(len(value) for value, _ in said)
        print("\n".join(f"{value:<{width}}  # {where}" for value, where in said))
        return
    print(dump_recipe(load_recipe(flags.recipe, flags.settings)), end="")
