"""Make BigQuery's clients, each once in a process: those of Google Cloud, or of emulators that the environment names.

Credentials are those of the platform (Application Default Credentials). BIGQUERY_EMULATOR_HOST, which Google's client
reads too, is the URL of an emulator of the REST API; BIGQUERY_STORAGE_EMULATOR_HOST is host:port of one of the Storage
API, to which messages go unencrypted. An emulator is given no credentials.
"""

import functools
import os

import grpc
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1.services.big_query_read import BigQueryReadClient
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport

from penstock_shared.errors import UserMistake

REST_EMULATOR = "BIGQUERY_EMULATOR_HOST"
STORAGE_EMULATOR = "BIGQUERY_STORAGE_EMULATOR_HOST"
# Of the first request: who cannot be reached at all need not be waited for as long as one that is busy.
FIRST_ANSWER = bigquery.DEFAULT_RETRY.with_timeout(60)
ANY_SIZE = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def rest_client(project: str | None) -> bigquery.Client:
    """Return the client of tables and queries; `project` pays, by default that of the credentials."""
    return _rest_client(project, os.environ.get(REST_EMULATOR))


def read_client() -> BigQueryReadClient:
    """Return the client of the Storage Read API."""
    return _read_client(os.environ.get(STORAGE_EMULATOR))


@functools.cache
def _rest_client(project: str | None, emulator: str | None) -> bigquery.Client:
    try:
        return bigquery.Client(project, credentials=AnonymousCredentials() if emulator else None)
    except (GoogleAuthError, OSError) as fault:
        raise UserMistake(
            f"source.bigquery: no credentials, or no project to bill: {fault}; run gcloud auth application-default "
            "login, or run as a service account, and set billing_project or GOOGLE_CLOUD_PROJECT"
        ) from None


@functools.cache
def _read_client(emulator: str | None) -> BigQueryReadClient:
    if emulator is None:
        return BigQueryReadClient()
    return BigQueryReadClient(
        transport=BigQueryReadGrpcTransport(channel=grpc.insecure_channel(emulator, options=ANY_SIZE))
    )
