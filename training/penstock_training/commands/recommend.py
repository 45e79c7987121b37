"""Define `penstock-train recommend`: ask an exported model."""

import argparse

from penstock_training.commands.arguments import Verbs, positive


def add(verbs: Verbs) -> None:
    """Add the command and its flags."""
    recommend = verbs.add_parser(
        "recommend",
        help="print an exported model's best items for a user",
        description="Print an exported model's best items for a user, as raw ids with scores.",
        epilog="example: penstock-train recommend models/first --user 196 -k 10",
    )
    recommend.add_argument("model", metavar="MODEL", help="the --out of export")
    recommend.add_argument("--user", required=True, help="the user's raw id")
    recommend.add_argument("-k", type=positive, default=10, help="how many items (default: 10)")
    recommend.set_defaults(verb=_run)


def _run(flags: argparse.Namespace) -> None:
    from penstock_training.serving.recommend import recommend

    recommend(flags.model, flags.user, flags.k)
