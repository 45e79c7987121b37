"""Ask a real disk for what it refuses, through TensorFlow and through Python, and hold the message to what it is."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf

from penstock_shared import UserMistake
from penstock_shared.errors import PenstockError
from penstock_training.storage import explained, list_folder, make_folder, read_text, written_whole

FULL = "/dev/full"


def fill() -> None:
    with tf.io.gfile.GFile(FULL, "wb") as file:
        file.write(b"x" * (1 << 20))


def fill_from_the_graph() -> None:
    tf.raw_ops.WriteFile(filename=FULL, contents=b"x" * (1 << 20))


@pytest.mark.parametrize(
    ("refused", "kind", "message"),
    [
        (fill, PenstockError, "/dev/full: No space left on device; mend that and run the same command again"),
        (fill_from_the_graph, PenstockError, "/dev/full: No space left on device; mend that"),
        (lambda: read_text("/usr"), UserMistake, "/usr: Is a directory; give a place that this user can"),
        (lambda: Path("/usr").write_text(""), UserMistake, "/usr: Is a directory; give a place that this user can"),
    ],
)
def test_what_a_disk_refuses_is_told_with_its_place(
    refused: Callable[[], None], kind: type[PenstockError], message: str
) -> None:
    with pytest.raises((OSError, tf.errors.OpError)) as raised:
        refused()
    found = explained(raised.value)
    assert type(found) is kind
    assert str(found).startswith(message)


def test_a_permission_on_a_disk_is_not_taken_for_one_on_a_bucket() -> None:
    said = f"/data/run; {os.strerror(errno.EACCES)}"
    found = explained(tf.errors.PermissionDeniedError(None, None, said))
    assert str(found) == "/data/run: Permission denied; give a place that this user can read and write"
    bucket = explained(tf.errors.PermissionDeniedError(None, None, "403\n\t when reading gs://b/o"))
    assert "roles/storage.objectViewer" in str(bucket)


def test_another_fault_is_not_explained() -> None:
    assert explained(FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "x")) is None
    assert explained(ValueError("Permission denied")) is None


def test_what_came_to_be_at_a_place_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    def write_beside_another() -> None:
        with written_whole(str(tmp_path / "model")) as folder:
            make_folder(folder)
            make_folder(str(tmp_path / "model/other"))

    with pytest.raises(UserMistake, match="model: is there already, written by another process"):
        write_beside_another()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_file_is_a_folder_that_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert list_folder(str(tmp_path / "file")) == []


def test_too_little_memory_is_said_in_words() -> None:
    fault = tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[9,9] [Op:Empty]")
    assert str(explained(fault)) == (
        "OOM when allocating tensor with shape[9,9]; take a machine with more memory, or a smaller model or batch"
    )
