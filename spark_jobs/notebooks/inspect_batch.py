# Databricks notebook source
# ruff: noqa: D100, F821 (spark, dbutils and display are there in every notebook)
# mypy: disable-error-code="name-defined"

# COMMAND ----------

# MAGIC %md
# MAGIC # A batch: what became of each file's lines, and what the valid ones look like
# MAGIC `processed` is the processed storage (`s3://bucket/prefix`), `batch_id` as the load audit tells it.

# COMMAND ----------

import json

from pyspark.sql import functions as F  # noqa: N812

dbutils.widgets.text("processed", "")
dbutils.widgets.text("batch_id", "")
batch = f"{dbutils.widgets.get('processed').rstrip('/')}/sales_batch/{dbutils.widgets.get('batch_id')}"

# COMMAND ----------

# MAGIC %md
# MAGIC ## The account: every row read is valid, quarantined or an exact duplicate

# COMMAND ----------

METRICS_BYTES = 100_000_000
COUNTS = ("rows_read", "rows_valid", "rows_quarantined", "rows_duplicate")
metrics = json.loads(dbutils.fs.head(f"{batch}/_metrics.json", METRICS_BYTES))
account = spark.createDataFrame(
    [(file["name"], *(file[count] for count in COUNTS)) for file in metrics["files"]],
    "name string, rows_read bigint, rows_valid bigint, rows_quarantined bigint, rows_duplicate bigint",
).withColumn("rows_unexplained", F.expr("rows_read - rows_valid - rows_quarantined - rows_duplicate"))
display(account.orderBy("name"))

# COMMAND ----------

# MAGIC %md
# MAGIC ## Does what was written agree with what was counted?

# COMMAND ----------

valid = spark.read.parquet(f"{batch}/valid")
written = valid.groupBy(F.col("file_name").alias("name")).agg(F.count("*").alias("rows_written"))
disagreeing = (
    account.join(written, "name", "left")
    .withColumn("rows_written", F.coalesce("rows_written", F.lit(0)))
    .where("rows_written <> rows_valid or rows_unexplained <> 0")
)
display(disagreeing)

# COMMAND ----------

# MAGIC %md
# MAGIC ## Sales by day, and some lines

# COMMAND ----------

days = valid.groupBy(F.to_date("ordered_at").alias("day"), "currency").agg(
    F.countDistinct("order_id").alias("orders"),
    F.count("*").alias("lines"),
    F.sum(F.col("quantity") * F.col("unit_price")).alias("amount"),
)
display(days.orderBy("day", "currency"))

# COMMAND ----------

display(valid.orderBy("file_name", "file_line").limit(100))
