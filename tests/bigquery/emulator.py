"""Start the BigQuery emulator and fill its tables."""

import io
import os
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from emulators.ports import held_ports, is_listened_on
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from patience import wait_until

PROJECT = "test"
DATASET = f"{PROJECT}.shop"


class Emulator:
    """Run one bqemulator: `rest` is its URL, `storage` the host:port of its Storage API."""

    def __init__(self, environment: Path, home: Path) -> None:
        self._ports = ExitStack()
        rest, storage = self._ports.enter_context(held_ports(2))
        self.rest, self.storage = f"http://127.0.0.1:{rest}", f"127.0.0.1:{storage}"
        # DuckDB looks for extensions in the home folder, and would download those it does not find there.
        for extension in environment.glob(
            "lib/python*/site-packages/duckdb_extension_*/extensions/*/*.duckdb_extension"
        ):
            held = home / ".duckdb" / "extensions" / extension.parent.name / "linux_amd64" / extension.name
            held.parent.mkdir(parents=True, exist_ok=True)
            held.symlink_to(extension)
        ports = ["--rest-port", str(rest), "--grpc-port", str(storage)]
        command = [environment / "bin" / "bqemulator", "start", *ports, "--project", PROJECT, "--log-level", "error"]
        # Larger messages than the emulator sends by default, as BigQuery's may be.
        settings = {"HOME": str(home), "BQEMU_WRITE_API_MAX_REQUEST_BYTES": str(2**30)}
        self._log = home / "emulator.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, env=os.environ | settings, stdout=log, stderr=log)
        self._wait(rest, storage)
        self.client = bigquery.Client(
            PROJECT, client_options=ClientOptions(api_endpoint=self.rest), credentials=AnonymousCredentials()
        )
        self.client.create_dataset(DATASET)

    def _wait(self, *ports: int) -> None:
        try:
            wait_until(lambda: all(map(is_listened_on, ports)), self._process)
        except AssertionError:
            self.stop()
            raise RuntimeError(f"bqemulator did not start:\n{self._log.read_text()[-4000:]}") from None

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self._ports.close()

    def sql(self, statement: str) -> list[dict[str, object]]:
        """Run SQL and return its rows."""
        return [dict(row) for row in self.client.query_and_wait(statement)]

    def load(self, name: str, rows: pa.Table, partitioned_by: str | None = None) -> str:
        """Append rows to a table, made first where there is none, and return its full name."""
        full_name = f"{DATASET}.{name}"
        table = bigquery.Table(full_name, schema=[_field(field.name, field.type) for field in rows.schema])
        if partitioned_by is not None:
            table.time_partitioning = bigquery.TimePartitioning(field=partitioned_by)
        self.client.create_table(table, exists_ok=True)
        content = io.BytesIO()
        pq.write_table(rows, content)
        content.seek(0)
        parquet = bigquery.LoadJobConfig(source_format="PARQUET")
        self.client.load_table_from_file(content, full_name, job_config=parquet).result()
        return full_name


def _field(name: str, kind: pa.DataType) -> bigquery.SchemaField:
    if pa.types.is_list(kind):
        inner = _field(name, kind.value_type)
        return bigquery.SchemaField(name, inner.field_type, "REPEATED", fields=inner.fields)
    if pa.types.is_struct(kind):
        return bigquery.SchemaField(name, "RECORD", fields=[_field(held.name, held.type) for held in kind])
    names = (
        (pa.types.is_integer, "INTEGER"),
        (pa.types.is_floating, "FLOAT"),
        (pa.types.is_string, "STRING"),
        (pa.types.is_boolean, "BOOLEAN"),
        (pa.types.is_date, "DATE"),
        (pa.types.is_timestamp, "TIMESTAMP"),
    )
    return bigquery.SchemaField(name, next(type_name for is_type, type_name in names if is_type(kind)))
