"""Hold free ports for servers that have to be told which to take."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def held_ports(count: int) -> Iterator[list[int]]:
    """Yield ports that nothing listens on and, until the block ends, nobody else is given.

    A port that is only looked up may be another's by the time a server takes it. These are bound, but not listened on:
    Linux lets a server that sets SO_REUSEADDR, as they all do, listen on them, and gives them to no other socket.
    """
    with ExitStack() as stack:
        ports = []
        for _ in range(count):
            held = stack.enter_context(socket.socket())
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind(("", 0))
            ports.append(held.getsockname()[1])
        yield ports


def is_listened_on(port: int) -> bool:
    """Tell whether a server of this machine takes connections on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
