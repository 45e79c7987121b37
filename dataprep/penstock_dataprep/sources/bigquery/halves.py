"""Ask BigQuery to split a stream of which some rows are read."""

from google.cloud.bigquery_storage_v1 import types
from google.cloud.bigquery_storage_v1.services.big_query_read import BigQueryReadClient

from penstock_dataprep.sources.bigquery.faults import ANY

# Reading waits while a stream is split.
SECONDS_TO_SPLIT = 10.0


class StreamSplitter:
    """Split streams; one that BigQuery will not split is not asked for again, since requests are limited."""

    def __init__(self, client: BigQueryReadClient) -> None:
        self._client = client
        self._refused: set[str] = set()

    def __call__(self, stream: str, rows_read: int, fraction: float) -> tuple[str, str] | None:
        """Return the names of the streams of the rows before and after about `fraction` of `stream`.

        Return None where it cannot be split there now: then `stream` is read on. The first has its rows from the
        start, `rows_read` of which were read already, so the split must lie behind these. What BigQuery does with an
        offset behind the end of a stream is not defined, hence a row must have come.
        """
        if stream in self._refused:
            return None
        request = types.SplitReadStreamRequest(name=stream, fraction=min(max(fraction, 0.001), 0.999))
        try:
            halves = self._client.split_read_stream(request, retry=None, timeout=SECONDS_TO_SPLIT)
            near, far = halves.primary_stream.name, halves.remainder_stream.name
            if not (near and far):
                self._refused.add(stream)
                return None
            return (near, far) if rows_read == 0 or self._goes_on(near, rows_read) else None
        except ANY:
            return None  # Whatever it is, reading will meet it, and knows what to do.

    def _goes_on(self, stream: str, row: int) -> bool:
        responses = self._client.read_rows(read_stream=stream, offset=row, retry=None, timeout=SECONDS_TO_SPLIT)
        try:
            return any(response.row_count for response in responses)
        finally:
            responses.cancel()  # type: ignore[attr-defined]
