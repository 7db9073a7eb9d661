"""The same batch as a plain PySpark script: what one writes without knowing where Spark's time goes.

The schema is inferred, a text that is no number is cast away, duplicates are dropped over all columns, and every
count scans the files again. It keeps neither line numbers nor raw lines. It gets the right counts only because
`columnPruning` is off: with it on, Spark does not look for malformed lines in a count.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 (PySpark's own idiom)

CURRENCIES = ["EUR", "GBP", "USD", "CHF", "SEK", "PLN"]
REQUIRED = [
    "order_id",
    "line_number",
    "product_id",
    "quantity",
    "unit_price",
    "currency",
    "ordered_at",
    "updated_at",
]


def read(spark: SparkSession, paths: list[str]) -> DataFrame:
    """Read the files with the schema Spark finds in them."""
    options: dict[str, Any] = {
        "header": True,
        "columnPruning": False,
        "columnNameOfCorruptRecord": "_corrupt",
    }
    schema = spark.read.options(**options).csv(paths, inferSchema=True).schema
    return spark.read.options(**options).csv(paths, schema=schema.add("_corrupt", "string"))


def clean(lines: DataFrame) -> DataFrame:
    """Cast the columns and add what is wrong with a line."""
    texts = {name: F.col(name).cast("string") for name in REQUIRED}
    values = {
        "source": F.lit("store_sales"),
        "line_number": texts["line_number"].try_cast("bigint"),
        "quantity": texts["quantity"].try_cast("int"),
        "unit_price": texts["unit_price"].try_cast("decimal(18,4)"),
        "ordered_at": F.try_to_timestamp("ordered_at").cast("timestamp_ntz"),
        "updated_at": F.try_to_timestamp(texts["updated_at"]).cast("timestamp_ntz"),
    }
    rules: dict[str, Column] = {"malformed_row": F.col("_corrupt").isNotNull()}
    for name in REQUIRED:
        value = values.get(name, F.col(name))
        rules[f"{name}_missing"] = texts[name].isNull()
        rules[f"{name}_invalid"] = texts[name].isNotNull() & value.isNull()
    rules["quantity_not_zero"] = values["quantity"] == 0
    rules["unit_price_not_negative"] = values["unit_price"] < 0
    rules["currency_known"] = ~F.col("currency").isin(CURRENCIES)
    rules["ordered_at_plausible"] = ~F.year(values["ordered_at"]).between(2000, 2099)
    broken = F.concat_ws(",", *(F.when(test, F.lit(rule_id)) for rule_id, test in rules.items()))
    file_name = F.col("_metadata.file_name")
    return lines.withColumns({"rule_ids": broken, "file_name": file_name}).withColumns(values)


def run(spark: SparkSession, spec: dict[str, Any]) -> dict[str, Any]:
    """Do a batch and give its account."""
    names = [*spec["contract"]["columns"]]
    lines = clean(read(spark, [file["uri"] for file in spec["files"]]))
    lines = lines.withColumn("batch_id", F.lit(spec["batch_id"]))
    valid = (
        lines.filter(F.col("rule_ids") == "").dropDuplicates(names).select(*names, "batch_id", "file_name")
    )
    rejected = lines.filter(F.col("rule_ids") != "")
    valid.write.mode("overwrite").parquet(f"{spec['output']}/valid")
    rejected.write.mode("overwrite").parquet(f"{spec['output']}/quarantine")
    read_rows, valid_rows, rejected_rows = lines.count(), valid.count(), rejected.count()
    rules = {row.rule_ids: row["count"] for row in rejected.groupBy("rule_ids").count().collect()}
    per_file = {row.file_name: row["count"] for row in lines.groupBy("file_name").count().collect()}
    totals = {"rows_read": read_rows, "rows_valid": valid_rows, "rows_quarantined": rejected_rows}
    totals["rows_duplicate"] = read_rows - valid_rows - rejected_rows
    return {"batch_id": spec["batch_id"], "rows_by_file": per_file, "rules": rules, "totals": totals}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", type=Path, required=True)
    spec = json.loads(parser.parse_args().spec.read_text())
    spark = SparkSession.builder.appName("naive").getOrCreate()
    Path(spec["output"].removeprefix("file://"), "_metrics.json").write_text(json.dumps(run(spark, spec)))


if __name__ == "__main__":
    main()
