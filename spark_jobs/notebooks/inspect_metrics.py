# Databricks notebook source
# ruff: noqa: D100, F821 (spark, dbutils and display are there in every notebook)
# mypy: disable-error-code="name-defined"

# COMMAND ----------

# MAGIC %md
# MAGIC # The job's metrics over all batches: how much came, how much of it was rejected, by which rules
# MAGIC A batch without `_metrics.json` has not been finished: it is going now, or its run has failed.

# COMMAND ----------

import json

from pyspark.sql import functions as F  # noqa: N812

dbutils.widgets.text("processed", "")
folder = f"{dbutils.widgets.get('processed').rstrip('/')}/sales_batch"
METRICS_BYTES = 100_000_000

# COMMAND ----------

finished, unfinished = [], []
for batch in dbutils.fs.ls(folder):
    if "_metrics.json" in {file.name for file in dbutils.fs.ls(batch.path)}:
        finished.append(json.loads(dbutils.fs.head(f"{batch.path.rstrip('/')}/_metrics.json", METRICS_BYTES)))
    else:
        unfinished.append((batch.name.rstrip("/"),))

# COMMAND ----------

# MAGIC %md
# MAGIC ## Batches, those with most rejects first

# COMMAND ----------

COUNTS = ("rows_read", "rows_valid", "rows_quarantined", "rows_duplicate")
batches = spark.createDataFrame(
    [(m["batch_id"], len(m["files"]), *(m["totals"][count] for count in COUNTS)) for m in finished],
    "batch_id string, files int, " + ", ".join(f"{count} bigint" for count in COUNTS),
).withColumn("share_quarantined", F.expr("try_divide(rows_quarantined, rows_read)"))
display(batches.orderBy(F.desc("share_quarantined"), "batch_id"))

# COMMAND ----------

# MAGIC %md
# MAGIC ## Rules over all batches

# COMMAND ----------

rules = spark.createDataFrame(
    [(rule, rows) for m in finished for file in m["files"] for rule, rows in file["rules"].items()],
    "rule string, rows bigint",
)
display(rules.groupBy("rule").agg(F.sum("rows").alias("rows")).orderBy(F.desc("rows"), "rule"))

# COMMAND ----------

# MAGIC %md
# MAGIC ## Batches that were not finished

# COMMAND ----------

display(spark.createDataFrame(unfinished, "batch_id string"))
