# Databricks notebook source
# ruff: noqa: D100, F821 (spark, dbutils and display are there in every notebook)
# mypy: disable-error-code="name-defined"

# COMMAND ----------

# MAGIC %md
# MAGIC # A batch's rejects: which rules were broken, where, by what
# MAGIC With `rule` only the lines that broke that one. Once the feed is mended: `sales quarantine replay --feed …`.

# COMMAND ----------

from pyspark.sql import Window
from pyspark.sql import functions as F  # noqa: N812

dbutils.widgets.text("processed", "")
dbutils.widgets.text("batch_id", "")
dbutils.widgets.text("rule", "")
rule = dbutils.widgets.get("rule")
batch = f"{dbutils.widgets.get('processed').rstrip('/')}/sales_batch/{dbutils.widgets.get('batch_id')}"

# COMMAND ----------

# MAGIC %md
# MAGIC ## Rules by file; a line that broke two rules counts under both

# COMMAND ----------

rejects = (
    spark.read.parquet(f"{batch}/quarantine")
    .withColumn("rule", F.explode(F.split("rule_ids", ",")))
    .where((F.col("rule") == rule) | F.lit(rule == ""))
)
display(rejects.groupBy("rule", "file_name").count().orderBy(F.desc("count"), "rule", "file_name"))

# COMMAND ----------

# MAGIC %md
# MAGIC ## The first lines that broke each rule, as they came

# COMMAND ----------

EXAMPLES = 10
first = F.row_number().over(Window.partitionBy("rule").orderBy("file_name", "file_line"))
examples = rejects.withColumn("example", first).where(F.col("example") <= EXAMPLES)
display(
    examples.select("rule", "file_name", "file_line", "raw_line").orderBy("rule", "file_name", "file_line")
)
