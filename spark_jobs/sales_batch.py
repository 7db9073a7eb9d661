"""The batch job: CSV files of one feed in, checked sales lines, rejected lines and an exact account out.

Run as `sales_batch.py --spec <uri>`; the JSON file there says everything (see `blocks/feeds.py`, job_spec):
    {batch_id, feed: {…}, contract: {…}, files: [{uri, name, checksum}], output}
and the job replaces everything under `output` by
    valid/*.parquet       contract columns + batch_id, file_name, file_line; times in UTC without zone
    quarantine/*.parquet  source, batch_id, file_name, file_line, rule_ids (comma separated), raw_line
    _metrics.json         the account, written last: {batch_id, files: [{name, checksum, rows_read, rows_valid,
                          rows_quarantined, rows_duplicate, rules: {id: rows}}], totals: {rows_read, …}}

Every data line (not the header, not an empty line) ends in exactly one place: quarantined with every rule it
breaks, dropped as an exact duplicate of an earlier valid line (equal in all contract columns), or valid. The
same batch gives the same rows, whatever the number of cores and splits.

It needs pyspark and nothing else, reads and writes wherever Spark can, and leaves master, memory and other
settings of the place to the place.
"""

import argparse
import csv
import json
import re
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import reduce
from typing import Any, NamedTuple
from urllib.parse import unquote

from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]
from pyspark.sql import Column, DataFrame, Observation, Row, SparkSession, Window
from pyspark.sql import functions as F  # noqa: N812 (PySpark's own idiom)

# What the meaning of the output rests on; everything else is the cluster's to decide.
MEANING = {"spark.sql.session.timeZone": "UTC", "spark.sql.legacy.timeParserPolicy": "CORRECTED"}
COUNTS = ("rows_read", "rows_valid", "rows_quarantined", "rows_duplicate")
NUMBERING = "path string, block_start bigint, file_name string, header_line bigint, shift bigint"
SPARK_TYPES = {"string": "string", "integer": "int", "long": "bigint", "timestamp": "timestamp_ntz"}
LINEAGE = ("batch_id", "file_name", "file_line")
QUARANTINE = ("source", *LINEAGE, "rule_ids", "raw_line")
NO_HEADER = 0
Spec = dict[str, Any]


class BatchError(Exception):
    """The batch cannot be done as it is; the text says what to change."""


class Input(NamedTuple):
    """A file with lines: its uri, how Spark lists it, its rows' file_name, line of its header, its columns."""

    uri: str
    path: str
    file_name: str
    header_line: int
    columns: tuple[str, ...]


def _hadoop(spark: SparkSession, uri: str) -> tuple[Any, Any, Any]:
    """Give the JVM, the file system of a uri and its path: Hadoop knows every scheme that Spark knows."""
    java: Any = spark._jvm  # there wherever the job itself runs; a Spark Connect client has none
    path = java.org.apache.hadoop.fs.Path(uri)
    return java, path.getFileSystem(spark._jsc.hadoopConfiguration()), path


def _read_text(spark: SparkSession, uri: str) -> str:
    _, system, path = _hadoop(spark, uri)
    with closing(system.open(path)) as stream:
        return bytes(stream.readAllBytes()).decode("utf-8")


def _write_text(spark: SparkSession, uri: str, text: str) -> None:
    _, system, path = _hadoop(spark, uri)
    with closing(system.create(path, True)) as stream:
        stream.write(bytearray(text, "utf-8"))


def _first_line(spark: SparkSession, uri: str) -> tuple[int, bytes]:
    """Give number and bytes of the first line that is not empty, (0, b"") for a file without one."""
    java, system, path = _hadoop(spark, uri)
    codec = java.org.apache.hadoop.io.compress.CompressionCodecFactory(system.getConf()).getCodec(path)
    with closing(system.open(path)) as stream:
        content = codec.createInputStream(stream) if codec else stream
        # ISO-8859-1 maps every byte to one character and back.
        reader = java.java.io.BufferedReader(java.java.io.InputStreamReader(content, "ISO-8859-1"))
        number, line = 1, reader.readLine()
        while line == "":
            number, line = number + 1, reader.readLine()
        return (0, b"") if line is None else (number, line.encode("iso-8859-1"))


def open_input(spark: SparkSession, feed: Spec, file: Spec) -> Input | None:
    """Find a file and read its header; None for a file without a line.

    Raises BatchError if the file cannot be read, or its header lacks a mapped column or names it twice.
    """
    try:
        _, system, path = _hadoop(spark, file["uri"])
        listed = system.makeQualified(path).toString()
        number, line = _first_line(spark, file["uri"])
    except Py4JJavaError as error:
        raise BatchError(f"{file['name']} cannot be read: {error.java_exception.toString()}") from error
    if not number:
        return None
    if feed["header"] is not True:
        return Input(file["uri"], listed, file["file_name"], NO_HEADER, tuple(feed["header"]))
    return Input(file["uri"], listed, file["file_name"], number, read_header(feed, file["name"], line))


def read_header(feed: Spec, name: str, line: bytes) -> tuple[str, ...]:
    """Split a header into its column names. Raises BatchError if a mapped column is missing or named twice."""
    text = line.decode(feed["encoding"], "replace").removeprefix("\ufeff")
    quoting: Spec = {"quotechar": feed["quote"]} if feed["quote"] else {"quoting": csv.QUOTE_NONE}
    row = next(csv.reader([text], delimiter=feed["delimiter"], **quoting))
    found = tuple(column.strip() for column in row)
    wanted = dict.fromkeys(feed["columns"].values())
    if missing := [column for column in wanted if column not in found]:
        raise BatchError(f"{name}: the header lacks {', '.join(missing)}; found {', '.join(found)}")
    if twice := [column for column in wanted if found.count(column) > 1]:
        raise BatchError(f"{name}: the header names {', '.join(twice)} more than once")
    return found


def read_lines(spark: SparkSession, uris: list[str]) -> DataFrame:
    """Read files as physical lines: value, path, block_start (of the split in its file), id.

    `id` grows by one from line to line of a split, and is the same in every scan of this frame; so a line's
    number follows from counting the lines of each split once, without a shuffle.
    """
    literal = [re.sub(r"([\\{}\[\]*?])", r"\\\1", uri) for uri in uris]  # no file name is a pattern
    return spark.read.text(literal).select(
        F.col("value").alias("_value"),
        F.col("_metadata.file_path").alias("path"),
        F.col("_metadata.file_block_start").alias("block_start"),
        F.monotonically_increasing_id().alias("id"),
    )


def survey(lines: DataFrame) -> list[Row]:
    """Count every split's lines, and those that are not empty (filled); in the order of the files."""
    filled = F.count_if(F.col("_value") != "").alias("filled")
    counts = F.min("id").alias("first_id"), F.count("*").alias("lines"), filled
    return sorted(lines.groupBy("path", "block_start").agg(*counts).collect())


def number_lines(lines: DataFrame, splits: list[Row], inputs: list[Input]) -> DataFrame:
    """Give file_name, file_line (the first is 1) and _value of every data line."""
    files, before, table = {file.path: file for file in inputs}, Counter[str](), []
    for split in splits:
        file, shift = files[unquote(split.path)], before[split.path] + 1 - split.first_id
        where = {"path": split.path, "block_start": split.block_start, "shift": shift}
        table.append(where | {"file_name": file.file_name, "header_line": file.header_line})
        before[split.path] += split.lines
    rows = F.inline(F.from_json(F.lit(json.dumps(table)), f"array<struct<{NUMBERING}>>"))
    numbered = lines.join(F.broadcast(lines.sparkSession.range(1).select(rows)), ["path", "block_start"])
    file_line = F.col("id") + F.col("shift")
    is_data = (F.col("_value") != "") & (file_line != F.col("header_line"))
    return numbered.where(is_data).select("file_name", file_line.alias("file_line"), "_value")


def decode_lines(lines: DataFrame, encoding: str) -> DataFrame:
    """Replace _value (bytes, whatever Spark calls them) by raw_line, and say in _readable if they are text.

    The bytes of an unreadable line are kept as ISO-8859-1 characters, from which they can be had back.
    """
    value = F.col("_value")
    text = bytewise = F.decode(value.cast("binary"), "ISO-8859-1")
    if encoding == "utf-8":
        readable, text = F.is_valid_utf8(value), value
    else:
        meant = {chr(byte): bytes([byte]).decode(encoding, "replace") for byte in range(128, 256)}
        holes = "".join(char for char, text in meant.items() if text == "\ufffd")
        readable = ~bytewise.rlike(f"[{holes}]") if holes else F.lit(True)
        text = F.translate(bytewise, "".join(meant), "".join(meant.values()))
    raw_line = F.when(readable, text).otherwise(bytewise)
    return lines.withColumns({"_readable": readable, "raw_line": raw_line}).drop("_value")


def split_line(line: Column, feed: Spec, columns: int) -> Column:
    """Split a line into an array of fields, each quoted as RFC 4180 has it or without any quote.

    Null if the quotes are broken. Most lines have none, and splitting those is five times faster.
    """
    delimiter, quote = re.escape(feed["delimiter"]), re.escape(feed["quote"])
    plain = F.split(line, delimiter, -1)
    if not quote:
        return plain
    # Possessive: every character is tried once, however broken the line.
    field = f"(?:{quote}[^{quote}]*+(?:{quote}{quote}[^{quote}]*+)*+{quote}|[^{quote}{delimiter}]*+)"
    intact = line.rlike(f"^{field}(?:{delimiter}{field}){{{columns - 1}}}\\z")
    found = F.regexp_extract_all(line, F.lit(f"(?<=^|{delimiter})({field})"))
    fields = F.transform(found, lambda field: _unquote(field, F.lit(feed["quote"])))
    return F.when(~F.contains(line, F.lit(feed["quote"])), plain).when(intact, fields)


def _unquote(field: Column, quote: Column) -> Column:
    inner = F.substring(field, F.lit(2), F.length(field) - 2)
    plain = F.replace(inner, F.concat(quote, quote), quote)
    return F.when(F.startswith(field, quote), plain).otherwise(field)


def split_fields(lines: DataFrame, feed: Spec, header: tuple[str, ...]) -> DataFrame:
    """Add the text of every mapped column, trimmed, null where nothing is; and _broken, the rule if unreadable."""
    fields = F.when(F.col("_readable"), split_line(F.col("raw_line"), feed, len(header)))
    texts = {}
    for column, text in text_columns(feed).items():
        texts[text] = F.nullif(F.trim(F.get("_fields", F.lit(header.index(column)))), F.lit(""))
    malformed = F.coalesce(F.size("_fields") != len(header), F.lit(True))
    broken = F.when(~F.col("_readable"), "encoding_invalid").when(malformed, "malformed_row")
    return lines.withColumn("_fields", fields).withColumns(texts | {"_broken": broken})


def text_columns(feed: Spec) -> dict[str, str]:
    """Give for every mapped column of the file, in order of names, the name its text has in our frames."""
    return {column: f"_{position}" for position, column in enumerate(sorted(set(feed["columns"].values())))}


def read_value(text: Column, kind: str, timestamps: Spec) -> Column:
    """Read text as a contract type; null if it is not exactly that (nothing is rounded or guessed)."""
    if kind == "string":
        return text
    if kind == "timestamp":
        zone = timestamps["time_zone"]
        return F.coalesce(*(_read_time(text, form, zone) for form in timestamps["formats"]))
    scale = re.fullmatch(r"decimal\(\d+,(\d+)\)", kind)
    number = rf"^[+-]?(?=\.?\d)\d*+(?:\.\d{{0,{scale[1]}}})?\z" if scale else r"^[+-]?\d+\z"
    return F.when(text.rlike(number), text.try_cast(_spark_type(kind)))


def _spark_type(kind: str) -> str:
    return SPARK_TYPES.get(kind, kind)  # decimal(p,s) is called the same


def _read_time(text: Column, form: str, time_zone: str) -> Column:
    """Read a time as UTC; of a local time that comes twice in autumn the first is meant."""
    instant = F.try_to_timestamp(text, F.lit(form))
    says_its_zone = re.search("[VOXxZz]", re.sub("'[^']*'", "", form))
    utc = instant if says_its_zone or time_zone == "UTC" else F.to_utc_timestamp(instant, time_zone)
    return utc.cast("timestamp_ntz")


def content_number(feed: Spec) -> Column:
    """Number a line by its content: 63 bits of xxHash64 over the mapped columns' texts, in order of their names.

    For sources that do not number their lines. A position would change with the next export, so only its
    content tells a line of an order from the others: the same line has the same number in every file, batch
    and order of arrival. Each text's hash seeds the next one's, from seed 42; a missing text counts as empty.
    """
    texts = (F.coalesce(text, F.lit("")) for text in text_columns(feed).values())
    return F.xxhash64(*texts).bitwiseAND(F.lit(2**63 - 1))


def breaks(rule: Spec, kind: str) -> Column:
    """Tell whether a line breaks a rule; null if the value is missing or unreadable, which is said elsewhere."""
    value, given = F.col(rule["column"]), rule["value"]
    wanted = [_literal(item, kind) for item in (given if isinstance(given, list) else [given])]
    kept = {
        "not_equal": lambda: value != wanted[0],
        "at_least": lambda: value >= wanted[0],
        "greater_than": lambda: value > wanted[0],
        "at_most": lambda: value <= wanted[0],
        "less_than": lambda: value < wanted[0],
        "between": lambda: value.between(*wanted),
        "one_of": lambda: value.isin(*wanted),
    }
    return ~kept[rule["check"]]()


def _literal(given: Any, kind: str) -> Column:
    text = F.lit(str(given))
    return (F.to_timestamp(text) if kind == "timestamp" else text).cast(_spark_type(kind))


def judge(lines: DataFrame, feed: Spec, contract: Spec) -> DataFrame:
    """Add the contract's columns with their types, and rule_ids: every broken rule in order, or empty."""
    kinds = {name: column["type"] for name, column in contract["columns"].items()}
    texts = {name: F.col(text_columns(feed)[column]) for name, column in feed["columns"].items()}
    texts |= {name: F.lit(text) for name, text in feed["constants"].items()}
    values = {name: F.lit(None).cast(_spark_type(kind)) for name, kind in kinds.items()}
    values |= {name: read_value(text, kinds[name], feed["timestamps"]) for name, text in texts.items()}
    if feed["line_number"] == "content":
        values["line_number"] = content_number(feed)
    rules: dict[str, Column] = {}
    for name in (name for name in kinds if name in texts):
        if contract["columns"][name]["required"]:
            rules[f"{name}_missing"] = texts[name].isNull()
        if kinds[name] != "string":
            rules[f"{name}_invalid"] = texts[name].isNotNull() & F.isnull(name)
    rules |= {rule["id"]: breaks(rule, kinds[rule["column"]]) for rule in contract["rules"] + feed["rules"]}
    broken = F.concat_ws(",", *(F.when(condition, F.lit(rule_id)) for rule_id, condition in rules.items()))
    return lines.withColumns(values).withColumn("rule_ids", F.coalesce("_broken", broken))


def label_files(files: list[Spec]) -> list[Spec]:
    """Give every file the file_name of its rows: its name, or with its checksum where two have one name."""
    named = Counter(file["name"] for file in files)
    labels = [f["name"] if named[f["name"]] == 1 else f"{f['name']} ({f['checksum'][:16]})" for f in files]
    if len(set(labels)) < len(files):
        raise BatchError(f"a file is given twice: {', '.join(sorted(labels))}")
    return [file | {"file_name": label} for file, label in zip(files, labels, strict=True)]


def judge_files(spark: SparkSession, spec: Spec, inputs: list[Input]) -> tuple[DataFrame, Counter[str]]:
    """Give every data line judged, and their number by file_name; files of one header are read together."""
    feed, contract, rows_read = spec["feed"], spec["contract"], Counter[str]()
    kinds = {name: _spark_type(column["type"]) for name, column in contract["columns"].items()}
    kinds |= {"file_name": "string", "file_line": "bigint", "rule_ids": "string", "raw_line": "string"}
    judged = []
    for header in dict.fromkeys(file.columns for file in inputs):
        alike = [file for file in inputs if file.columns == header]
        lines = read_lines(spark, [file.uri for file in alike])
        splits = survey(lines)
        for file in alike:
            filled = sum(split.filled for split in splits if unquote(split.path) == file.path)
            rows_read[file.file_name] = filled - (file.header_line != NO_HEADER)
        numbered = decode_lines(number_lines(lines, splits, alike), feed["encoding"])
        judged.append(judge(split_fields(numbered, feed, header), feed, contract).select(*kinds))
    nothing = ", ".join(f"{name} {kind}" for name, kind in kinds.items())
    every = reduce(DataFrame.unionAll, judged or [spark.createDataFrame([], nothing)])
    return every.withColumn("batch_id", F.lit(spec["batch_id"])), rows_read


def write_valid(judged: DataFrame, columns: list[str], output: str) -> int:
    """Write the valid lines, of equal ones the first by file and line; give the number of the others."""
    valid = judged.where(F.col("rule_ids") == "").select(*columns, *LINEAGE)
    # The hash comes first because one number sorts faster than fourteen columns.
    equal = Window.partitionBy(F.xxhash64(*columns), *columns).orderBy("file_name", "file_line")
    counted = Observation()
    copies = valid.withColumn("_copy", F.row_number().over(equal))
    copies = copies.observe(counted, F.count_if(F.col("_copy") > 1).alias("dropped"))
    copies.where(F.col("_copy") == 1).drop("_copy").write.mode("overwrite").parquet(f"{output}/valid")
    return int(counted.get["dropped"])


def write_quarantine(judged: DataFrame, source: str, output: str) -> None:
    """Write the lines that break a rule, as they came."""
    rejected = judged.where(F.col("rule_ids") != "").withColumn("source", F.lit(source)).select(*QUARANTINE)
    rejected.write.mode("overwrite").parquet(f"{output}/quarantine")


def count_written(spark: SparkSession, output: str) -> dict[str, Counter[str]]:
    """Count what has been written: for each file_name the rows of each rule_ids (empty for valid lines)."""
    valid = spark.read.schema("file_name string").parquet(f"{output}/valid").withColumn("rule_ids", F.lit(""))
    rejected = spark.read.schema("file_name string, rule_ids string").parquet(f"{output}/quarantine")
    written: dict[str, Counter[str]] = defaultdict(Counter)
    for name, ids, rows in valid.unionByName(rejected).groupBy("file_name", "rule_ids").count().collect():
        written[name][ids] = rows
    return written


def account(file: Spec, rows_read: int, written: Counter[str]) -> Spec:
    """Say what became of a file's lines, from the lines read and the lines written by rule_ids."""
    rules = Counter[str]()
    for ids, rows in written.items():
        rules.update({rule_id: rows for rule_id in ids.split(",") if rule_id})
    rejected = written.total() - written[""]
    counts = (rows_read, written[""], rejected, rows_read - written.total())
    whose = {"name": file["name"], "checksum": file["checksum"]}
    return whose | dict(zip(COUNTS, counts, strict=True)) | {"rules": dict(sorted(rules.items()))}


def run(spark: SparkSession, spec: Spec) -> Spec:
    """Do one batch and give its account, which is also written as _metrics.json.

    Raises BatchError if a file cannot be read as this feed, or if the account does not close.
    """
    for key, value in MEANING.items():
        spark.conf.set(key, value)
    output, files = spec["output"], label_files(spec["files"])
    inputs = [found for file in files if (found := open_input(spark, spec["feed"], file))]
    for part in ("valid", "quarantine", "_metrics.json"):
        _, system, path = _hadoop(spark, f"{output}/{part}")
        system.delete(path, True)
    judged, rows_read = judge_files(spark, spec, inputs)
    with ThreadPoolExecutor() as pool:  # side by side: most of a small batch is waiting for a cold JVM
        valid = pool.submit(write_valid, judged, [*spec["contract"]["columns"]], output)
        rejected = pool.submit(write_quarantine, judged, spec["feed"]["constants"]["source"], output)
    rejected.result()
    dropped, written = valid.result(), count_written(spark, output)
    accounts = [account(file, rows_read[file["file_name"]], written[file["file_name"]]) for file in files]
    totals = {count: sum(entry[count] for entry in accounts) for count in COUNTS}
    if totals["rows_duplicate"] != dropped or any(entry["rows_duplicate"] < 0 for entry in accounts):
        raise BatchError(f"the account does not close: {totals}, but {dropped} duplicates were dropped")
    metrics = {"batch_id": spec["batch_id"], "files": accounts, "totals": totals}
    _write_text(spark, f"{output}/_metrics.json", json.dumps(metrics))
    return metrics


def main() -> None:
    """Run the batch that --spec describes."""
    parser = argparse.ArgumentParser(description="Turn CSV files of one feed into checked sales lines.")
    parser.add_argument("--spec", required=True, help="uri of the JSON file that describes the batch")
    options = parser.parse_args()
    spark = SparkSession.builder.appName("sales_batch").getOrCreate()
    print(json.dumps(run(spark, json.loads(_read_text(spark, options.spec)))["totals"]))


if __name__ == "__main__":
    main()
