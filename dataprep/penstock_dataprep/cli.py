"""Parse the command line of penstock-data and run one command."""

import argparse
import os
import signal
import sys

from penstock_shared.errors import PenstockError

EXAMPLES = """examples:
  penstock-data generate LOG --rows 1_000_000 --users 100_000 --items 20_000 --seed 7
  penstock-data plan spec.yaml --out gs://BUCKET/datasets --assume workers=100
  penstock-data rehearse spec.yaml --recipe recipe.yaml
  penstock-data build spec.yaml --out DATASETS
  penstock-data build monday.yaml --out DATASETS --append-to DATASETS/movielens/4f0c2a9d1e77/manifest.json
  penstock-data verify DATASETS/movielens/4f0c2a9d1e77/manifest.json
  penstock-data show DATASETS/movielens/4f0c2a9d1e77/manifest.json --json
  penstock-data list DATASETS
  penstock-data gc DATASETS --keep 30 --delete
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of every command and flag."""
    root = argparse.ArgumentParser(
        prog="penstock-data",
        description="Turn interaction logs into vocab-mapped, shuffled, sharded TFRecord datasets.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")

    generate = commands.add_parser("generate", help="make a synthetic log with the statistics of a real one")
    generate.add_argument("log", help="folder for the Parquet files")
    generate.add_argument("--rows", type=int, default=1_000_000, help="rows to write (default: 1_000_000)")
    generate.add_argument("--users", type=int, default=100_000, help="distinct users (default: 100_000)")
    generate.add_argument("--items", type=int, default=20_000, help="distinct items (default: 20_000)")
    generate.add_argument("--seed", type=int, default=7, help="seed of all randomness (default: 7)")
    generate.add_argument("--files", type=int, default=None, help="number of files (default: by rows)")

    plan = commands.add_parser(
        "plan",
        help="tell in seconds what a build would read, make, take and cost, and what would hurt later",
        description="Check all that can be known before a build: the spec against the source's columns, permissions, "
        "regions; and estimate, from metadata and a sample of at most 100,000 rows, rows, vocabularies, bytes, shards, "
        "and duration and cost on Dataflow, with the arithmetic. Nothing is written. Exit codes are those of build. "
        "Flags after -- go to Beam, as with build.",
        epilog="examples:\n  penstock-data plan spec.yaml\n"
        "  penstock-data plan spec.yaml --out gs://BUCKET/datasets --json\n"
        "  penstock-data plan spec.yaml --assume workers=100 --assume usd_per_vcpu_hour=0.04 -- --region=us-central1",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s [-h] [--out OUT] [--append-to MANIFEST] [--scratch FOLDER] [--assume NAME=NUMBER] [--json] "
        "spec [-- BEAM_FLAG ...]",
    )
    plan.add_argument("spec", help="the spec, a YAML file")
    plan.add_argument("--out", help="folder or URL under which the dataset would live; checked where given")
    plan.add_argument("--append-to", metavar="MANIFEST", help="the manifest that build would append to")
    plan.add_argument("--scratch", metavar="FOLDER", help="the folder or URL that build would be given")
    plan.add_argument(
        "--assume",
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help="take another price, rate or number of workers; plan prints all it assumes (may be given several times)",
    )
    plan.add_argument("--json", action="store_true", help="print JSON for a machine")

    rehearse = commands.add_parser(
        "rehearse",
        help="carry a small sample through both programs, from the source to a recommendation",
        description="Sample the source, build and verify a dataset of the sample, and run penstock-train on it: fit, "
        "evaluate, export, recommend. Users are sampled with all rows that they have in the first rows of the source, "
        "so that they have a history. Limits that few rows would break (out-of-vocabulary values, drift, entities "
        "without attributes) do not hold. The error of a step that fails is its own, and so is the exit code.",
        epilog="example: penstock-data rehearse spec.yaml --recipe recipe.yaml --rows 50_000 --keep REHEARSAL",
    )
    rehearse.add_argument("spec", help="the spec, a YAML file")
    rehearse.add_argument("--recipe", required=True, help="the recipe of penstock-train, a YAML file")
    rehearse.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="A.B=VALUE",
        help="set a value of the recipe, as in --set training.epochs=3 (may be given several times)",
    )
    rehearse.add_argument("--rows", type=int, default=20_000, help="rows to sample, about (default: 20_000)")
    rehearse.add_argument(
        "--keep", metavar="FOLDER", help="a new folder for all that is made (default: nothing is kept)"
    )

    build = commands.add_parser(
        "build",
        help="build the dataset of a spec, or find it already built",
        description="Build the dataset of a spec. The last line of standard output is the manifest's path. "
        "Flags after -- go to Beam, for example: -- --runner=DataflowRunner --project=P --region=R",
        usage="%(prog)s [-h] --out OUT [--append-to MANIFEST] [--scratch FOLDER] spec [-- BEAM_FLAG ...]",
    )
    build.add_argument("spec", help="the spec, a YAML file")
    build.add_argument("--out", required=True, help="folder or URL under which datasets live")
    build.add_argument(
        "--append-to",
        metavar="MANIFEST",
        help="make a version of the rows of this one and, added to them, those that the spec's source names",
    )
    build.add_argument(
        "--scratch",
        metavar="FOLDER",
        help="folder or URL for intermediate files (default: beside the dataset; for a URL and a runner on this "
        "machine, ~/.cache/penstock/scratch)",
    )

    verify = commands.add_parser(
        "verify",
        help="read every byte of a dataset and hold it against its manifest",
        description="Read every byte of a dataset and recompute what its manifest claims. Taken on trust is what a "
        "dataset does not hold: how many rows were read and filtered beyond those written and rejected; what was in "
        "the source; in which split rows belong, unless split by time; what was measured for a transform; which ids "
        "of an entity table had no entity; token counts where rows that were counted are not in the dataset, or the "
        "column is an entity table's or not written as a list of a sequence; drift and kept ids where the parent was "
        "deleted.",
    )
    verify.add_argument("manifest", help="path or URL of a manifest.json")

    show = commands.add_parser("show", help="print what a dataset holds")
    show.add_argument("manifest", help="path or URL of a manifest.json")
    show.add_argument("--json", action="store_true", help="print the manifest as JSON for a machine")

    listing = commands.add_parser("list", help="list the published versions under a folder")
    listing.add_argument("root", help="the folder or URL given to build --out")
    listing.add_argument("--json", action="store_true", help="print JSON for a machine")

    diff = commands.add_parser("diff", help="compare two versions: what was asked, stored, and how values drifted")
    diff.add_argument("before", help="path or URL of a manifest.json")
    diff.add_argument("after", help="path or URL of another")
    diff.add_argument("--json", action="store_true", help="print JSON for a machine")

    gc = commands.add_parser(
        "gc",
        help="name what no published version needs",
        description="Name the leftovers of builds that did not end and, with --keep, the versions out of retention. "
        "Files that a kept version lists stay, whatever version made them.",
    )
    gc.add_argument("root", help="the folder or URL given to build --out")
    gc.add_argument("--keep", type=int, default=None, metavar="N", help="keep the N newest versions of each dataset")
    gc.add_argument("--delete", action="store_true", help="delete what is named")
    return root


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 2 the user's mistake, 3 data refused, 1 anything else."""
    given = sys.argv[1:] if arguments is None else arguments
    own = given[: given.index("--")] if "--" in given else given
    chosen = parser().parse_args(own)
    chosen.runner_flags = given[len(own) + 1 :]
    if chosen.runner_flags and chosen.command not in ("plan", "build"):
        parser().error(f"{chosen.command} takes no Beam flags, found {' '.join(given[len(own) :])}")
    try:
        COMMANDS[chosen.command](chosen)
        sys.stdout.flush()
    except BrokenPipeError:
        return _unread()
    except PenstockError as refusal:
        print(f"penstock-data: {refusal}", file=sys.stderr)
        return refusal.exit_code
    except KeyboardInterrupt:
        print(
            "penstock-data: interrupted; nothing was published. Run the same command again to go on from here",
            file=sys.stderr,
        )
        return 130
    return 0


def _unread() -> int:
    """Let go of what nobody reads any more, as with `| head`, and return the exit code that others have then."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + signal.SIGPIPE


def _generate(chosen: argparse.Namespace) -> None:
    from penstock_dataprep.commands import run_generate

    run_generate(chosen.log, chosen.rows, chosen.users, chosen.items, chosen.seed, chosen.files)


def _plan(chosen: argparse.Namespace) -> None:
    from penstock_dataprep.commands import run_plan

    run_plan(
        chosen.spec,
        chosen.out,
        chosen.runner_flags,
        chosen.append_to,
        chosen.scratch,
        chosen.assume,
        chosen.json,
    )


def _rehearse(chosen: argparse.Namespace) -> None:
    from penstock_dataprep.commands import run_rehearse

    run_rehearse(chosen.spec, chosen.recipe, chosen.settings, chosen.rows, chosen.keep)


def _build(chosen: argparse.Namespace) -> None:
    from penstock_dataprep.commands import run_build

    run_build(chosen.spec, chosen.out, chosen.runner_flags, chosen.append_to, chosen.scratch)


def _verify(chosen: argparse.Namespace) -> None:
    from penstock_dataprep.commands import run_verify

    run_verify(chosen.manifest)


def _show(chosen: argparse.Namespace) -> None:
    from penstock_dataprep.commands import run_show

    run_show(chosen.manifest, chosen.json)


def _list(chosen: argparse.Namespace) -> None:
    from penstock_dataprep.commands import run_list

    run_list(chosen.root, chosen.json)


def _diff(chosen: argparse.Namespace) -> None:
    from penstock_dataprep.commands import run_diff

    run_diff(chosen.before, chosen.after, chosen.json)


def _gc(chosen: argparse.Namespace) -> None:
    from penstock_dataprep.commands import run_gc

    run_gc(chosen.root, chosen.keep, chosen.delete)


COMMANDS = {
    "generate": _generate,
    "plan": _plan,
    "rehearse": _rehearse,
    "build": _build,
    "verify": _verify,
    "show": _show,
    "list": _list,
    "diff": _diff,
    "gc": _gc,
}

if __name__ == "__main__":
    sys.exit(main())
