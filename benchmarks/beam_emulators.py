"""Point Beam's BigQuery reader at the emulators that the environment variables name: it has no setting for that."""

import os
from typing import Any

import grpc
from apache_beam.internal.gcp import auth
from apache_beam.io.gcp import bigquery, bigquery_tools
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport


def point_beam_at_emulators() -> None:
    """Replace what makes Beam's clients."""
    rest = os.environ["BIGQUERY_EMULATOR_HOST"]
    auth._Credentials._credentials_init, auth._Credentials._credentials = True, None
    made = bigquery_tools.bigquery.BigqueryV2.__init__

    def make(self: Any, *arguments: Any, **settings: Any) -> None:
        made(self, *arguments, **(settings | {"url": f"{rest}/bigquery/v2/", "get_credentials": False}))

    bigquery_tools.bigquery.BigqueryV2.__init__ = make
    # It lists the datasets of a label, which the emulator ignores, and deletes them.
    bigquery_tools.BigQueryWrapper._clean_up_beam_labelled_temporary_datasets = lambda *_, **__: None
    client = bigquery.bq_storage.BigQueryReadClient
    options = [("grpc.max_receive_message_length", -1)]
    bigquery.bq_storage.BigQueryReadClient = lambda: client(
        transport=BigQueryReadGrpcTransport(
            channel=grpc.insecure_channel(os.environ["BIGQUERY_STORAGE_EMULATOR_HOST"], options=options)
        )
    )
