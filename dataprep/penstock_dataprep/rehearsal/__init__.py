"""Rehearse the whole chain on a small sample, from the source to a recommendation, before a large run is paid for."""

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from penstock_dataprep.build import build
from penstock_dataprep.plan import plan
from penstock_dataprep.rehearsal.sample import Sample, take_sample
from penstock_dataprep.rehearsal.trainer import COMMAND, find_trainer, run_trainer
from penstock_dataprep.spec.spec import Spec
from penstock_dataprep.storage.files import read_bytes
from penstock_dataprep.verify.dataset import verify
from penstock_shared.errors import PenstockError, UserMistake
from penstock_shared.manifest import load_manifest

ITEMS = 10
LINES_SHOWN = 12  # of what a program says that ended badly

Say = Callable[[str], None]


def rehearse(spec: Spec, recipe: str, settings: list[str], rows: int, keep: str | None, say: Say) -> None:
    """Check the recipe, sample, build, verify, fit, evaluate, export and recommend.

    `settings` go over the recipe, and `say` is told what each step took and made. All is made in the folder `keep`, or
    in one that is gone afterwards. Raises the error of the step that failed, its name before the message; UserMistake
    where the folder, the recipe or the trainer is not there.
    """
    trainer = find_trainer()
    if "://" not in recipe and not Path(recipe).is_file():
        raise UserMistake(f"{recipe}: no such file; expected a recipe in YAML")
    started = time.monotonic()
    asked = [recipe, *(part for setting in settings for part in ("--set", setting))]
    with _folder(keep) as folder:
        with _step("recipe", say):
            _train(trainer, "recipe", asked, folder)
        with _step("sample", say) as made:
            job = plan(spec, str(folder / "datasets"), [], None, None)
            sample = take_sample(job, rows, folder / "sample")
            made.append(_described(sample))
        for note in sample.notes:
            say(f"  {note}")
        with _step("build", say) as made:
            path, _ = build(sample.spec, str(folder / "datasets"), [])
            manifest = load_manifest(read_bytes(path), path)
            splits = ", ".join(f"{split.rows:,} {name}" for name, split in manifest.splits.items())
            made.append(f"{splits} rows, {sum(manifest.accounting.rejected.values()):,} rejected")
        with _step("verify", say) as made:
            made.append(f"{verify(manifest, path):,} claims hold")
        run, model = str(folder / "run"), str(folder / "model")
        steps = {
            "fit": [*asked, "--dataset", path, "--workdir", run],
            "evaluate": [run],
            "export": [run, "--out", model],
        }
        if sample.user is not None:
            steps["recommend"] = [model, "--user", sample.user, "-k", str(ITEMS)]
        for name, arguments in steps.items():
            with _step(name, say) as made:
                printed = _train(trainer, name, arguments, folder)
                made.append(f"user {sample.user}" if name == "recommend" else "")
            if name in ("evaluate", "recommend"):
                say("\n".join(f"  {line}" for line in printed.rstrip().splitlines()))
    where = f"; all of it is in {keep}" if keep is not None else ""
    say(f"rehearsed in {time.monotonic() - started:.0f} s: every step works on {sample.rows:,} rows{where}")


def _described(sample: Sample) -> str:
    return f"{sample.rows:,} rows" + (f" of {sample.users:,} users" if sample.users else "")


def _train(trainer: str, name: str, arguments: list[str], folder: Path) -> str:
    """Run one verb of the trainer and return what it printed; the error it ends with is its own."""
    done = run_trainer(trainer, [name, *arguments])
    (folder / f"{name}.log").write_text(done.stdout + done.stderr)
    if done.returncode:
        # Of a program that a signal ended the code is negative, which no program can end with.
        raise _failed(_reason(done.stderr) or f"it ended with exit code {done.returncode}", max(1, done.returncode))
    return done.stdout


def _reason(said: str) -> str:
    """Return what a program said of its failure: from its own error on, or else its last lines."""
    lines = said.strip().splitlines()
    errors = [at for at, line in enumerate(lines) if line.startswith(f"{COMMAND}: ")]
    return "\n".join(lines[errors[-1] :] if errors else lines[-LINES_SHOWN:])


def _failed(message: str, exit_code: int) -> PenstockError:
    fault = PenstockError(message)
    fault.exit_code = exit_code
    return fault


@contextlib.contextmanager
def _step(name: str, say: Say) -> Iterator[list[str]]:
    """Time a step and tell what it made; an error of it names it."""
    started = time.monotonic()
    made: list[str] = []
    try:
        yield made
    except PenstockError as fault:
        raise _failed(f"step {name} failed: {fault}", fault.exit_code) from None
    say(f"{name:<10}{time.monotonic() - started:6.1f} s  {'; '.join(filter(None, made))}".rstrip())


@contextlib.contextmanager
def _folder(keep: str | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="penstock-rehearsal-") as name:
            yield Path(name)
        return
    folder = Path(keep)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserMistake(f"--keep {keep}: is not an empty folder; give a new one")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise UserMistake(f"--keep {keep}: cannot be made: {fault.strerror}; give another folder") from None
    yield folder
