"""Define `penstock-train peek`: look at a table before any dataset exists."""

import argparse

from penstock_shared.errors import UserMistake
from penstock_training.commands.arguments import Verbs, add_settings, positive

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


def add(verbs: Verbs) -> None:
    """Add the command and its flags."""
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
    peek.add_argument("--rows", type=positive, default=2000, help="at most how many rows (default: 2000)")
    peek.add_argument("--where", default="", metavar="SQL", help="take the rows for which this condition holds")
    peek.add_argument(
        "--recipe", help="check that columns with roles fit this recipe, and take a few steps on the rows"
    )
    peek.add_argument("--json", action="store_true", help="print one JSON document, for machines")
    add_settings(peek)
    peek.set_defaults(verb=_run)


def _run(flags: argparse.Namespace) -> None:
    from penstock_training.peek.columns import check_table, parse_wanted
    from penstock_training.peek.reader import check_reader
    from penstock_training.recipe import load_recipe

    check_table(flags.bigquery)
    wanted = parse_wanted(flags.columns)
    if flags.rows > MOST_PEEKED_ROWS:
        raise UserMistake(
            f"--rows {flags.rows}: expected at most {MOST_PEEKED_ROWS}; for more, build a dataset with penstock-data"
        )
    if flags.recipe is not None and "://" not in flags.recipe:
        load_recipe(flags.recipe, flags.settings)
    check_reader()

    from penstock_training.peek.look import peek

    peek(flags.bigquery, wanted, flags.rows, flags.where, flags.recipe, flags.settings, flags.json)
