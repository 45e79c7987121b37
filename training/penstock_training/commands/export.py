"""Define `penstock-train export`: write a run's model for serving."""

import argparse

from penstock_training.commands.arguments import Verbs


def add(verbs: Verbs) -> None:
    """Add the command and its flags."""
    export = verbs.add_parser(
        "export",
        help="write a run's last checkpoint as a SavedModel from raw ids to scored raw ids",
        description="Write a run's last checkpoint as a SavedModel that takes raw ids and returns scored raw ids, "
        "with a model.json that describes it.",
        epilog="example: penstock-train export runs/first --out models/first",
    )
    export.add_argument("run", metavar="RUN", help="the --workdir of fit")
    export.add_argument("--out", required=True, metavar="MODEL", help="the model's folder; must not be there yet")
    export.set_defaults(verb=_run)


def _run(flags: argparse.Namespace) -> None:
    from penstock_training.fitting.faults import traceback_kept
    from penstock_training.fitting.workdir import Workdir
    from penstock_training.serving.export import export

    with traceback_kept(Workdir(flags.run)):
        export(flags.run, flags.out)
