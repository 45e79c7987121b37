"""Start a Cloud Storage emulator with a front that TensorFlow takes for googleapis.com."""

import datetime
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from emulators.gcs_front import Front

REPOSITORY = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("PENSTOCK_EMULATORS", REPOSITORY / ".emulators")) / "bin" / "fake-gcs-server"
SECONDS_TO_START = 20


@dataclass(frozen=True)
class Emulator:
    """Hold a running emulator: its front, and what clients need in their environment."""

    front: Front
    environment: dict[str, str]

    def make_bucket(self, name: str) -> str:
        """Make a bucket and return its URL."""
        document = json.dumps({"name": name}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.front.url}/storage/v1/b?project=test", document, headers)
        # No proxy: the environment may name the front as one.
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10).close()
        return f"gs://{name}"


def find_binary() -> str | None:
    """Return the path of fake-gcs-server, or None where `make emulators` has not made it."""
    return str(BINARY) if BINARY.exists() else shutil.which("fake-gcs-server")


@contextmanager
def running(binary: str, folder: Path) -> Iterator[Emulator]:
    """Run an emulator that keeps its objects in memory until the block ends; `folder` takes certificate and log."""
    certificate, authority = make_certificate(folder)
    front = Front(str(certificate))
    port = free_port()
    front.backend = ("127.0.0.1", port)
    command = [binary, "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory"]
    with (folder / "emulator.log").open("wb") as log:
        server = subprocess.Popen([*command, "-external-url", front.url], stdout=log, stderr=log)
    try:
        wait_for(port, server)
        environment = {
            "STORAGE_EMULATOR_HOST": front.url,
            # What TensorFlow needs besides: a way to its fixed hosts, trust in them, and a token not to ask for.
            "https_proxy": front.url,
            "no_proxy": "127.0.0.1,localhost",
            "CURL_CA_BUNDLE": str(authority),
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "token",
        }
        yield Emulator(front, environment)
    finally:
        server.kill()
        server.wait()
        front.shutdown()
        front.server_close()


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Write a certificate for googleapis.com with its key, and alone; return both paths."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Cloud Storage emulator")])
    now = datetime.datetime.now(datetime.timezone.utc)
    names: list[x509.GeneralName] = [x509.DNSName(host) for host in ("*.googleapis.com", "googleapis.com")]
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName(names), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    alone = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    both, authority = folder / "front.pem", folder / "authority.pem"
    both.write_bytes(private + alone)
    authority.write_bytes(alone)
    return both, authority


def free_port() -> int:
    """Return a port of the loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    """Wait until something listens on a port; raises TimeoutError."""
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"{server.args}: nothing listens on port {port} after {SECONDS_TO_START} s")
