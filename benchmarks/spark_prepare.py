"""Prepare a log with PySpark on this machine's cores: the job of benchmarks/prepare.py's spec, written as Parquet.

Spark has no TFRecord writer of its own, so the rows go to shuffled Parquet files; that is less work, not more.

    .peers/bin/python benchmarks/spark_prepare.py LOG OUT --test-from TIME
"""

import argparse
import os
import tempfile

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as fn

MEMORY = "12g"
TRAIN_FILES, TEST_FILES = 16, 2
FIRST_TOKEN_ID, OOV_ID, MIN_COUNT = 3, 2, 2


def session(folder: str) -> SparkSession:
    """Start Spark in this process, one thread per core."""
    cores = len(os.sched_getaffinity(0))
    settings = {
        "spark.driver.memory": MEMORY,
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.local.dir": folder,
        "spark.sql.shuffle.partitions": "16",
        "spark.ui.enabled": "false",
    }
    builder = SparkSession.builder.master(f"local[{cores}]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    started = builder.getOrCreate()
    started.sparkContext.setLogLevel("ERROR")
    return started


def vocabulary(rows: DataFrame, column: str, out: str) -> DataFrame:
    """Rank a column's tokens by count, save them, and return them with their ids."""
    order = Window.orderBy(fn.desc("count"), column)
    counted = rows.groupBy(column).count().where(fn.col("count") >= MIN_COUNT)
    ranked = counted.select(column, (fn.row_number().over(order) + (FIRST_TOKEN_ID - 1)).alias(f"{column}_id"))
    ranked.write.parquet(f"{out}/{column}")
    return rows.sparkSession.read.parquet(f"{out}/{column}")


def id_of(column: str) -> Column:
    """Return the id joined to a token, that of all others where there is none."""
    return fn.coalesce(f"{column}_id", fn.lit(OOV_ID)).cast("int").alias(column)


def write(rows: DataFrame, files: int, out: str) -> None:
    """Write rows in random order, spread over files at random."""
    placed = rows.withColumn("place", fn.rand(17))
    spread = placed.repartition(files, (fn.col("place") * 1_000_000_000).cast("long"))
    spread.sortWithinPartitions("place").drop("place").write.parquet(out)


def main() -> None:
    """Prepare a log."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("log")
    parser.add_argument("out")
    parser.add_argument("--test-from", type=int, required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        spark = session(folder)
        rated = spark.read.parquet(arguments.log).where(fn.col("rating").isNotNull())
        tokens = {column: vocabulary(rated, column, arguments.out) for column in ("user_id", "item_id")}
        mapped = rated.join(tokens["user_id"], "user_id", "left").join(tokens["item_id"], "item_id", "left")
        kept = mapped.select(id_of("user_id"), id_of("item_id"), "rating", fn.col("timestamp").cast("int"))
        kept = kept.persist()
        time = fn.col("timestamp")
        for name, files, wanted in (
            ("train", TRAIN_FILES, time < arguments.test_from),
            ("test", TEST_FILES, time >= arguments.test_from),
        ):
            write(kept.where(wanted), files, f"{arguments.out}/{name}")
        spark.stop()


if __name__ == "__main__":
    main()
