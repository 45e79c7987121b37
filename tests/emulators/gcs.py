"""Start a Cloud Storage emulator with a front that TensorFlow takes for googleapis.com."""

import datetime
import json
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from emulators.gcs_front import Front
from emulators.ports import held_ports, is_listened_on
from patience import PATIENCE_SECONDS, wait_until


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
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=PATIENCE_SECONDS).close()
        return f"gs://{name}"


@contextmanager
def running(environment: Path, folder: Path) -> Iterator[Emulator]:
    """Run an emulator that keeps its objects in memory until the block ends; `folder` takes certificate and log."""
    certificate, authority = make_certificate(folder)
    front = Front(str(certificate))
    with held_ports(1) as (port,):
        front.backend = ("127.0.0.1", port)
        command = [environment / "bin" / "fake-gcs-server", "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
        with (folder / "emulator.log").open("wb") as log:
            server = subprocess.Popen(
                [*command, "-backend", "memory", "-external-url", front.url], stdout=log, stderr=log
            )
        try:
            wait_until(lambda: is_listened_on(port), server)
            settings = {
                "STORAGE_EMULATOR_HOST": front.url,
                # What TensorFlow needs besides: a way to its fixed hosts, trust in them, and a token not to ask for.
                "https_proxy": front.url,
                "no_proxy": "127.0.0.1,localhost",
                "CURL_CA_BUNDLE": str(authority),
                "GOOGLE_AUTH_TOKEN_FOR_TESTING": "token",
            }
            yield Emulator(front, settings)
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
