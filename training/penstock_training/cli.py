"""Run penstock-train: parse the command line, call the verb, turn refusals into messages and exit codes."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence

from penstock_shared.errors import PenstockError
from penstock_training.commands import COMMANDS

DESCRIPTION = """Train a recommender from a penstock dataset, judge it, export it and ask it.

    penstock-train fit recipe.yaml --dataset data/clicks/v1/manifest.json --workdir runs/first
    penstock-train evaluate runs/first
    penstock-train export runs/first --out models/first
    penstock-train compare runs/first runs/second
    penstock-train recommend models/first --user 196 -k 10
    penstock-train peek --bigquery project.shop.events --columns user_id,item_id
    penstock-train tpu-check recipe.yaml --dataset data/clicks/v1/manifest.json --topology v5e:2x4

Exit codes: 0 done, 1 training failed, 2 a mistake in the request, 3 data refused, 4 the loss diverged,
143 stopped by SIGTERM and saved.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    flags = _parser().parse_args(arguments)
    verb: Callable[[argparse.Namespace], None] = flags.verb
    try:
        verb(flags)
        sys.stdout.flush()
    except BrokenPipeError:
        return _unread()
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


def _unread() -> int:
    """Let go of what nobody reads any more, as with `| head`, and return the exit code that others have then."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + signal.SIGPIPE


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
    for add in COMMANDS.values():
        add(verbs)
    return parser


if __name__ == "__main__":
    sys.exit(main())
