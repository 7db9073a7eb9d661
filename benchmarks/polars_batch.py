"""The batch job's work in polars: `python -m benchmarks.polars_batch --spec FILE`, the job's specification and output.

Written for the feed store_sales as a polars user would: one lazy query, streamed, written to both places at once.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.accounts import account
from streaming.generator import STORE_COLUMNS

FIELD = '(?:"[^"]*(?:""[^"]*)*"|[^",]*)'
INTEGER, DECIMAL = r"^[+-]?\d+$", r"^[+-]?(?:\d+(?:\.\d{0,4})?|\.\d{1,4})$"
ISO = "%Y-%m-%dT%H:%M:%SZ"
CURRENCIES = ["EUR", "GBP", "USD", "CHF", "SEK", "PLN"]
COLUMNS = ["source", *STORE_COLUMNS]
REQUIRED = [name for name in STORE_COLUMNS if name not in {
    "product_name", "product_category", "customer_id", "customer_segment", "country"}]  # fmt: skip


def read_lines(file: dict[str, Any]) -> pl.LazyFrame:
    """Read a file's data lines: file_name, file_line, raw_line."""
    lines = pl.scan_csv(
        file["uri"].removeprefix("file://"),
        has_header=False,
        skip_lines=1,
        schema={"raw_line": pl.String},
        separator="\x01",
        quote_char=None,
        row_index_name="file_line",
        row_index_offset=2,
    )
    return lines.select(
        pl.lit(file["name"]).alias("file_name"), pl.col("file_line").cast(pl.Int64), "raw_line"
    )


def split(lines: pl.LazyFrame) -> pl.LazyFrame:
    """Add the text of every field (`<column>_text`), null where nothing is, and `malformed`."""
    line, plain = pl.col("raw_line"), pl.col("raw_line").str.split(",")
    field = pl.element().str.slice(1)
    unquoted = field.str.strip_prefix('"').str.strip_suffix('"').str.replace_all('""', '"', literal=True)
    found = (
        ("," + line)
        .str.extract_all(f",{FIELD}")
        .list.eval(pl.when(field.str.starts_with('"')).then(unquoted).otherwise(field))
    )
    intact = line.str.contains(f"^{FIELD}(?:,{FIELD})*$")
    fields = pl.when(~line.str.contains('"', literal=True)).then(plain).when(intact).then(found)
    texts = [
        pl.col("fields")
        .list.get(place, null_on_oob=True)
        .str.strip_chars(" ")
        .replace("", None)
        .alias(f"{name}_text")
        for place, name in enumerate(STORE_COLUMNS)
    ]
    malformed = pl.col("fields").list.len().ne_missing(len(STORE_COLUMNS)).alias("malformed")
    return lines.with_columns(fields.alias("fields")).with_columns(*texts, malformed).drop("fields")


def judge(texts: pl.LazyFrame) -> pl.LazyFrame:
    """Add the contract's columns and rule_ids, every broken rule in order."""

    def of_form(name: str, form: str, kind: Any) -> pl.Expr:
        text = pl.col(f"{name}_text")
        return pl.when(text.str.contains(form)).then(text.cast(kind, strict=False))

    values = {name: pl.col(f"{name}_text") for name in STORE_COLUMNS}
    typed = {
        "line_number": of_form("line_number", INTEGER, pl.Int64),
        "quantity": of_form("quantity", INTEGER, pl.Int32),
        "unit_price": of_form("unit_price", DECIMAL, pl.Decimal(18, 4)),
        "ordered_at": pl.col("ordered_at_text").str.to_datetime(ISO, time_unit="us", strict=False),
        "updated_at": pl.col("updated_at_text").str.to_datetime(ISO, time_unit="us", strict=False),
    }
    rules: dict[str, pl.Expr] = {}
    for name in STORE_COLUMNS:
        if name in REQUIRED:
            rules[f"{name}_missing"] = pl.col(f"{name}_text").is_null()
        if name in typed:
            rules[f"{name}_invalid"] = pl.col(f"{name}_text").is_not_null() & pl.col(name).is_null()
    rules |= {
        "quantity_not_zero": pl.col("quantity") == 0,
        "unit_price_not_negative": pl.col("unit_price") < 0,
        "currency_known": ~pl.col("currency").is_in(CURRENCIES),
        "ordered_at_plausible": ~pl.col("ordered_at").is_between(
            pl.datetime(2000, 1, 1), pl.datetime(2100, 1, 1)
        ),
    }
    broken = [pl.when(test).then(pl.lit(rule_id)) for rule_id, test in rules.items()]
    rule_ids = (
        pl.when("malformed")
        .then(pl.lit("malformed_row"))
        .otherwise(pl.concat_str(broken, separator=",", ignore_nulls=True))
    )
    columns = texts.with_columns(pl.lit("store_sales").alias("source"), **(values | typed))
    return columns.with_columns(rule_ids.alias("rule_ids"))


def run(spec: dict[str, Any]) -> dict[str, Any]:
    """Do a batch and give its account."""
    output = Path(spec["output"].removeprefix("file://"))
    judged = judge(split(pl.concat([read_lines(file) for file in spec["files"]])))
    judged = judged.with_columns(pl.lit(spec["batch_id"]).alias("batch_id"))
    lineage = ["batch_id", "file_name", "file_line"]
    valid = judged.filter(pl.col("rule_ids") == "").select(*COLUMNS, *lineage)
    kept = valid.unique(subset=COLUMNS, keep="first", maintain_order=True)
    rejected = judged.filter(pl.col("rule_ids") != "").select("source", *lineage, "rule_ids", "raw_line")
    for part in ("valid", "quarantine"):
        (output / part).mkdir(parents=True, exist_ok=True)
    writes = [
        kept.sink_parquet(output / "valid" / "part-0.parquet", compression="snappy", lazy=True),
        rejected.sink_parquet(output / "quarantine" / "part-0.parquet", compression="snappy", lazy=True),
    ]
    by_fate = judged.group_by("file_name", "rule_ids").agg(pl.len().cast(pl.Int64))
    *_, counted = pl.collect_all([*writes, by_fate], engine="streaming")
    written = (
        pl.scan_parquet(output / "valid" / "*.parquet")
        .group_by("file_name")
        .agg(pl.len().cast(pl.Int64))
        .collect()
    )
    left = dict(written.iter_rows())
    fates: list[tuple[str, str | None, int]] = []
    for name, rule_ids, rows in counted.iter_rows():
        fates.append((name, rule_ids, rows if rule_ids else left.get(name, 0)))
        if not rule_ids:
            fates.append((name, None, rows - left.get(name, 0)))
    return account(spec, fates)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", type=Path, required=True)
    spec = json.loads(parser.parse_args().spec.read_text())
    Path(spec["output"].removeprefix("file://"), "_metrics.json").write_text(json.dumps(run(spec)))


if __name__ == "__main__":
    main()
