"""Define `penstock-train compare`: put runs side by side."""

import argparse

from penstock_shared.errors import UserMistake
from penstock_training.commands.arguments import Verbs


def add(verbs: Verbs) -> None:
    """Add the command and its flags."""
    compare = verbs.add_parser(
        "compare",
        help="put the metrics of runs side by side, and what differs in their recipes",
        description="Print the metrics that runs were last evaluated to, with 95 %% confidence intervals, next to the "
        "baselines, and what differs in their recipes. Runs that were evaluated by different protocols are refused.",
        epilog="example: penstock-train compare runs/first runs/second",
    )
    compare.add_argument("runs", nargs="+", metavar="RUN", help="the --workdir of fit, of two runs or more")
    compare.add_argument("--split", help="compare what evaluate --split found, not the recipe's own split")
    compare.add_argument("--json", action="store_true", help="print one JSON document, for machines")
    compare.set_defaults(verb=_run)


def _run(flags: argparse.Namespace) -> None:
    if len(flags.runs) < 2:
        raise UserMistake(f"{flags.runs[0]}: is one run; expected two or more to compare")

    from penstock_training.evaluation.compare import compare

    compare(flags.runs, flags.split, flags.json)
