"""Run penstock-train: parse the command line, call the verb, turn refusals into messages and exit codes."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from penstock_shared.errors import PenstockError, UserMistake

PEEK = """Look at a few thousand rows of a BigQuery table, read straight into tensors, before any dataset exists: the
type, nulls, distinct and most frequent values of each column, the range of numbers, some rows. With --recipe, also
check that columns fit a recipe and take 20 steps of its training on them: that shows that it runs, not how well.

Limits, which are those of tensorflow-io 0.37.1, the reader:
- It runs beside TensorFlow 2.16 alone: install penstock-training[bigquery] into an environment of its own.
- Columns are scalars of the types INT64, FLOAT64, BOOL, STRING, BYTES, DATE, TIME, TIMESTAMP, DATETIME, GEOGRAPHY and
  JSON, and lists of BOOL, INT64, FLOAT64 or STRING. Others, RECORD, its fields, and NUMERIC among them, are refused.
- It takes rows one at a time, some 30,000 in a second: to train, build a dataset with penstock-data, which reads more
  types, views and queries too.

Rows are the first that a few streams give, no random sample. GOOGLE_CLOUD_PROJECT pays, or else the table's project;
credentials are Application Default Credentials."""
MOST_PEEKED_ROWS = 100_000

DESCRIPTION = """Train a recommender from a penstock dataset, judge it, export it and ask it.

    penstock-train fit recipe.yaml --dataset data/clicks/v1/manifest.json --workdir runs/first
    penstock-train evaluate runs/first
    penstock-train export runs/first --out models/first
    penstock-train recommend models/first --user 196 -k 10
    penstock-train peek --bigquery project.shop.events --columns user_id,item_id

Exit codes: 0 done, 1 training failed, 2 a mistake in the request, 3 data refused.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    flags = _parser().parse_args(arguments)
    verb: Callable[[argparse.Namespace], None] = flags.verb
    try:
        verb(flags)
    except PenstockError as fault:
        print(f"penstock-train: {fault}", file=sys.stderr)
        return fault.exit_code
    except Exception as fault:
        if (reason := _storage_fault(fault)) is None:
            raise
        print(f"penstock-train: {reason}", file=sys.stderr)
        return reason.exit_code
    except KeyboardInterrupt:
        print(
            "penstock-train: interrupted; run the same command again to continue from the last checkpoint",
            file=sys.stderr,
        )
        return 130
    return 0


def _storage_fault(fault: Exception) -> PenstockError | None:
    """Return what to say of a bucket that cannot be reached or used, None where something else went wrong."""
    if "tensorflow" not in sys.modules:
        return None
    from penstock_training.storage import explained

    return explained(fault)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "penstock-train", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")

    fit = verbs.add_parser(
        "fit",
        help="train by a recipe; run again to continue after an interruption",
        description="Train a model by a recipe on a dataset. Run again, an interrupted run continues.",
        epilog="example: penstock-train fit recipe.yaml --dataset data/clicks/v1/manifest.json --workdir runs/first",
    )
    fit.add_argument("recipe", help="the recipe, a YAML file")
    fit.add_argument("--dataset", required=True, metavar="MANIFEST", help="the dataset's manifest.json, local or gs://")
    fit.add_argument("--workdir", required=True, metavar="RUN", help="the run's folder; made if it is not there")
    fit.add_argument(
        "--from",
        dest="source",
        metavar="RUN1",
        help="start from this run's last checkpoint; MANIFEST is its dataset or was appended to it",
    )
    fit.set_defaults(verb=_fit)

    evaluate = verbs.add_parser(
        "evaluate",
        help="evaluate a run's last checkpoint next to its baselines",
        description="Evaluate a run's last checkpoint by its recipe's protocol, next to the baselines to beat.",
        epilog="example: penstock-train evaluate runs/first",
    )
    evaluate.add_argument("run", metavar="RUN", help="the --workdir of fit")
    evaluate.set_defaults(verb=_evaluate)

    export = verbs.add_parser(
        "export",
        help="write a run's last checkpoint as a SavedModel from raw ids to scored raw ids",
        description="Write a run's last checkpoint as a SavedModel that takes raw ids and returns scored raw ids, "
        "with a model.json that describes it.",
        epilog="example: penstock-train export runs/first --out models/first",
    )
    export.add_argument("run", metavar="RUN", help="the --workdir of fit")
    export.add_argument("--out", required=True, metavar="MODEL", help="the model's folder; must not be there yet")
    export.set_defaults(verb=_export)

    recommend = verbs.add_parser(
        "recommend",
        help="print an exported model's best items for a user",
        description="Print an exported model's best items for a user, as raw ids with scores.",
        epilog="example: penstock-train recommend models/first --user 196 -k 10",
    )
    recommend.add_argument("model", metavar="MODEL", help="the --out of export")
    recommend.add_argument("--user", required=True, help="the user's raw id")
    recommend.add_argument("-k", type=_positive, default=10, help="how many items (default: 10)")
    recommend.set_defaults(verb=_recommend)
    _add_peek(verbs)
    return parser


def _add_peek(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    peek = verbs.add_parser(
        "peek",
        help="look at a few rows of a BigQuery table before any dataset exists",
        description=PEEK,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples: penstock-train peek --bigquery project.shop.events --columns user_id,item_id,rating "
        "--where \"day = '2026-11-20'\"\n"
        "          penstock-train peek --bigquery project.shop.events --columns user_id=user,item_id=item "
        "--recipe recipe.yaml",
    )
    peek.add_argument("--bigquery", required=True, metavar="PROJECT.DATASET.TABLE", help="the table")
    peek.add_argument(
        "--columns", required=True, metavar="A,B=ROLE", help="its columns; a recipe takes roles: user, item, label"
    )
    peek.add_argument("--rows", type=_positive, default=2000, help="at most how many rows (default: 2000)")
    peek.add_argument("--where", default="", metavar="SQL", help="take the rows for which this condition holds")
    peek.add_argument(
        "--recipe", help="check that columns with roles fit this recipe, and take a few steps on the rows"
    )
    peek.add_argument("--json", action="store_true", help="print one JSON document, for machines")
    peek.set_defaults(verb=_peek)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"found {number}, expected at least 1")
    return number


# TensorFlow takes seconds to import: a verb imports it only when it runs, and fit only once its recipe is well formed.


def _fit(flags: argparse.Namespace) -> None:
    from penstock_training.recipe import parse_recipe

    if "://" not in flags.recipe:
        parse_recipe(_local_bytes(flags.recipe), flags.recipe)

    from penstock_training.train import fit

    fit(flags.recipe, flags.dataset, flags.workdir, flags.source)


def _local_bytes(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as fault:
        raise UserMistake(f"{path}: cannot be read: {fault.strerror}; give the path of a recipe, a YAML file") from None


def _evaluate(flags: argparse.Namespace) -> None:
    from penstock_training.train import evaluate

    evaluate(flags.run)


def _export(flags: argparse.Namespace) -> None:
    from penstock_training.export import export

    export(flags.run, flags.out)


def _recommend(flags: argparse.Namespace) -> None:
    from penstock_training.recommend import recommend

    recommend(flags.model, flags.user, flags.k)


def _peek(flags: argparse.Namespace) -> None:
    from penstock_training.peek.columns import check_table, parse_wanted
    from penstock_training.peek.reader import check_reader
    from penstock_training.recipe import parse_recipe

    check_table(flags.bigquery)
    wanted = parse_wanted(flags.columns)
    if flags.rows > MOST_PEEKED_ROWS:
        raise UserMistake(
            f"--rows {flags.rows}: expected at most {MOST_PEEKED_ROWS}; for more, build a dataset with penstock-data"
        )
    if flags.recipe is not None and "://" not in flags.recipe:
        parse_recipe(_local_bytes(flags.recipe), flags.recipe)
    check_reader()

    from penstock_training.peek.look import peek

    peek(flags.bigquery, wanted, flags.rows, flags.where, flags.recipe, flags.json)


if __name__ == "__main__":
    sys.exit(main())
