"""Define `penstock-train evaluate`: judge a run's last checkpoint."""

import argparse

from penstock_training.commands.arguments import Verbs


def add(verbs: Verbs) -> None:
    """Add the command and its flags."""
    evaluate = verbs.add_parser(
        "evaluate",
        help="evaluate a run's last checkpoint next to its baselines",
        description="Evaluate a run's last checkpoint by its recipe's protocol, next to the baselines to beat.",
        epilog="example: penstock-train evaluate runs/first",
    )
    evaluate.add_argument("run", metavar="RUN", help="the --workdir of fit")
    evaluate.add_argument("--split", help="evaluate on this split; its metrics go to metrics-SPLIT.json")
    evaluate.set_defaults(verb=_run)


def _run(flags: argparse.Namespace) -> None:
    from penstock_training.fitting.faults import traceback_kept
    from penstock_training.fitting.workdir import Workdir
    from penstock_training.train import evaluate

    with traceback_kept(Workdir(flags.run)):
        evaluate(flags.run, flags.split)
