"""Run penstock-train in a process that ends when the one that started it does, however that ended."""

import os
import sys
import threading

from penstock_training.cli import main

STDIN = 0


def _end_with_parent() -> None:
    # The parent holds the other end of this pipe and never writes: reading ends when the parent has.
    os.read(STDIN, 1)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.exit(main(sys.argv[1:]))
