"""Reach Google Cloud Storage through gcsfs: with whose credentials, in what pieces, and what its faults mean."""

import base64
import functools
import logging
import os
from collections.abc import Iterable

import fsspec
import google_crc32c
from gcsfs import GCSFileSystem
from gcsfs.retry import RETRIABLE_EXCEPTIONS, HttpError
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError

from penstock_shared.errors import PenstockError, UserMistake

# An object is uploaded in pieces of this size, held in memory; a smaller one in a single request.
UPLOAD_BYTES = 32 << 20
SECONDS_PER_REQUEST = 300
UNREACHABLE = (HttpError, GoogleAuthError, TimeoutError, *RETRIABLE_EXCEPTIONS)

# It prints a trace for each request that fails; what a fault means is said below.
logging.getLogger("gcsfs").setLevel(logging.CRITICAL)


def system() -> GCSFileSystem:
    """Return the filesystem of gs:// URLs, one for all threads of a process.

    Its credentials are Google's defaults; FSSPEC_GS_TOKEN names others, and `anon` stands for none. Listings are not
    cached, for other machines write too. Raises UserMistake for credentials that are none.
    """
    given = fsspec.config.conf.get("gs", {}).get("token")
    endpoint = os.environ.get("STORAGE_EMULATOR_HOST")
    try:
        return _system(given or ("anon" if endpoint else "google_default"), endpoint, os.getpid())
    except (KeyError, ValueError) as fault:
        # Not what was found, which may be a secret.
        raise UserMistake(
            f"FSSPEC_GS_TOKEN: holds no credentials that can be used ({type(fault).__name__}); expected anon, "
            "google_default, or the path of the JSON key of a service account"
        ) from None


@functools.lru_cache(maxsize=4)
def _system(token: str, endpoint: str | None, process: int) -> GCSFileSystem:
    return GCSFileSystem(
        token=token,
        endpoint_url=endpoint,
        use_listings_cache=False,
        requests_timeout=SECONDS_PER_REQUEST,
        skip_instance_cache=True,
    )


def upload(path: str, parts: Iterable[bytes]) -> tuple[int, str]:
    """Write an object whole or not at all, and return (bytes, crc32c as 8 hex digits), held against the bucket's."""
    file = system().open(path, "wb", block_size=UPLOAD_BYTES)
    size, crc = 0, 0
    try:
        for part in parts:
            file.write(part)
            size += len(part)
            crc = google_crc32c.extend(crc, part)
    except BaseException:
        # Closing would upload what there is.
        file.discard()
        file.closed = True
        raise
    file.close()
    written = f"{crc:08x}"
    if (found := checksum(path)) != (size, written):
        raise PenstockError(f"{path}: {found} arrived, expected {(size, written)}; run the same command again")
    return size, written


def checksum(path: str) -> tuple[int, str]:
    """Return (bytes, crc32c as 8 hex digits) of an object as the bucket knows them. Raises FileNotFoundError."""
    found = system().info(path)
    if found["type"] != "file":
        raise FileNotFoundError(path)
    return int(found["size"]), base64.b64decode(found["crc32c"]).hex()


def explain(path: str, fault: Exception) -> PenstockError | None:
    """Return the error to raise for a bucket's fault, or None for one that says enough."""
    bucket = path.partition("://")[2].partition("/")[0]
    if isinstance(fault, DefaultCredentialsError):
        return UserMistake(
            f"{path}: no Google credentials found: {fault.args[0]}; run gcloud auth application-default login, or set "
            "FSSPEC_GS_TOKEN=anon for a public bucket"
        )
    if isinstance(fault, OSError) and str(fault).startswith("Forbidden"):
        return UserMistake(
            f"{path}: permission denied: {str(fault).splitlines()[-1]} Reading needs the role "
            f"roles/storage.objectViewer on bucket {bucket}, writing roles/storage.objectUser"
        )
    if isinstance(fault, HttpError) and fault.code == 401:
        return UserMistake(f"{path}: the credentials were not accepted: {fault.message}; log in again")
    if isinstance(fault, UNREACHABLE):
        return PenstockError(f"{path}: the bucket cannot be reached: {type(fault).__name__}: {fault}")
    return None


def location(path: str) -> str | None:
    """Return where a path's bucket lies, None where the account may not ask (it takes storage.buckets.get)."""
    bucket = path.partition("://")[2].partition("/")[0]
    try:
        found: dict[str, str] = system().call("GET", "b/{}", bucket, json_out=True)
    except (OSError, HttpError, GoogleAuthError):
        return None
    return found.get("location")
