"""Run a worker of Beam in a process that ends when the one that started it does, however that ended."""

import logging
import os
import sys
import threading
import warnings

STDIN = 0


def _end_with_parent() -> None:
    # The parent holds the other end of this pipe and never writes: reading ends when the parent has.
    os.read(STDIN, 1)
    os._exit(1)


def main() -> None:
    """Work until the runner has no more requests."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # What Beam logs goes to the runner; its advice for developers would come between what users are told.
    logging.getLogger().addHandler(logging.NullHandler())
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    from apache_beam.runners.worker import sdk_worker_main

    sdk_worker_main.main(sys.argv)


if __name__ == "__main__":
    main()
