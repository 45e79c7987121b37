"""Stand between clients and the Cloud Storage emulator: speak TLS as googleapis.com, count requests, make faults.

TensorFlow's gs:// knows no other host than googleapis.com, but goes through a proxy: CONNECT is answered, and what
follows is decrypted with a certificate of the tests' own. Other clients talk plain HTTP to the same port.
"""

import http.client
import json
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


@dataclass(frozen=True)
class Request:
    """Hold what a client asked for.

    `path` is decoded and has the query, `range` is the bytes asked for ("" for all), `name` that of an object whose
    upload starts ("" for other requests).
    """

    method: str
    path: str
    range: str
    name: str


# A rule sees each request before the emulator: it may take its time, and returns a status to answer with, or None.
Rule = Callable[[Request], int | None]
HOP_BY_HOP = {"connection", "content-length", "expect", "proxy-connection", "transfer-encoding"}
ERRORS = {
    401: "Anonymous caller does not have storage.objects access to the Google Cloud Storage object.",
    403: "tester does not have storage.objects access to the Google Cloud Storage object. Permission denied.",
    503: "Service Unavailable",
}


class Front(ThreadingHTTPServer):
    """Relay requests to the emulator at `backend`, which is set once it is known.

    `requests` are all that came, `relayed` those that the emulator has answered.
    """

    daemon_threads = True
    request_queue_size = 128
    backend: tuple[str, int]

    def __init__(self, certificate: str) -> None:
        """Listen on a free port of the loopback; `certificate` is a file with certificate and key."""
        super().__init__(("127.0.0.1", 0), Relay)
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(certificate)
        self.rules: list[Rule] = []
        self.requests: list[Request] = []
        self.relayed: list[Request] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Return where clients without TLS find the emulator."""
        return f"http://127.0.0.1:{self.server_port}"

    @contextmanager
    def rule(self, rule: Rule) -> Iterator[None]:
        """Let a rule see each request until the block ends."""
        self.rules.append(rule)
        try:
            yield
        finally:
            self.rules.remove(rule)

    @contextmanager
    def recorded(self) -> Iterator[list[Request]]:
        """Yield a list that the requests of the block are in once it ends."""
        start, found = len(self.requests), []
        yield found
        found += self.requests[start:]


class Relay(BaseHTTPRequestHandler):
    """Relay the requests of one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Front

    def do_CONNECT(self) -> None:
        """Go on with TLS, whatever googleapis.com host the client wants."""
        self.send_response(200)
        self.end_headers()
        self.request = self.server.tls.wrap_socket(self.connection, server_side=True)
        self.setup()
        self.close_connection = False

    def relay(self) -> None:
        """Send a request on and its answer back."""
        body = self._body()
        path = unquote(self.path)
        starts = path.startswith("/upload/") and "upload_id=" not in path
        named = re.search(r'[?&]name=([^&]+)|"name": ?"([^"]+)"', path + body[:1000].decode("utf-8", "replace"))
        name = (named[1] or named[2]) if starts and named else ""
        request = Request(self.command, path, self.headers.get("Range", ""), name)
        self.server.requests.append(request)
        for status in filter(None, [rule(request) for rule in list(self.server.rules)]):
            document = {"error": {"code": status, "message": ERRORS[status]}}
            self._answer(status, {"Content-Type": "application/json"}, json.dumps(document).encode())
            return
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        with closing(http.client.HTTPConnection(*self.server.backend)) as upstream:
            upstream.request(self.command, self.path, body, headers)
            response = upstream.getresponse()
            self.server.relayed.append(request)
            answered = dict(response.headers.items())
            if isinstance(self.connection, ssl.SSLSocket) and "Location" in answered:
                answered["Location"] = answered["Location"].replace("http://", "https://", 1)
            self._answer(response.status, answered, response.read())

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = relay  # noqa: N815

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        size = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
        self.send_header("Content-Length", size)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle(self) -> None:
        """Serve until the client hangs up, which a killed one does in the middle of anything."""
        try:
            super().handle()
        except (OSError, ssl.SSLError):
            self.close_connection = True

    def finish(self) -> None:
        """Close the connection, which the server knows by its socket without TLS."""
        super().finish()
        self.connection.close()

    def log_message(self, format: str, *values: object) -> None:  # noqa: A002
        """Say nothing: the tests look at `requests`."""
