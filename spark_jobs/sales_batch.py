"""The batch job: CSV files of one feed in, checked sales lines, rejected lines and an exact account out.

Run as `sales_batch.py --spec <uri>`; the JSON file there says everything (see `blocks/feeds.py`, job_spec):
    {batch_id, feed: {…}, contract: {…}, files: [{uri, name, checksum, file_name, from_name}], output}
and the job replaces everything under `output` by
    valid/*.parquet       contract columns + batch_id, file_name, file_line; times in UTC without zone
    quarantine/*.parquet  source, batch_id, file_name, file_line, rule_ids (comma separated), raw_line
    _metrics.json         the account, written last: {batch_id, files: [{name, checksum, rows_read, rows_valid,
                          rows_quarantined, rows_duplicate, rules: {id: rows}}], totals: {rows_read, …}}

Every data line (not the header, not an empty line) ends in exactly one place: quarantined with every rule it
breaks, dropped as an exact duplicate of an earlier valid line (equal in all contract columns; the feed may
have duplicates kept or quarantined instead), or valid. The same batch gives the same rows, whatever the
number of cores and splits.

The text is read once: every line is judged and staged as Parquet, and each later step reads the columns it
needs from there. Lines are numbered by counting those of each split, duplicates found by a hash; nothing wide
is shuffled or sorted, so memory does not grow with the rows, no frequent value holds up the others, and
thousands of small files leave as a few large ones. It needs pyspark and nothing else.
"""

import argparse
import csv
import json
import operator
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 (PySpark's own idiom)

SETTINGS = {
    # What the meaning of the output rests on; what is not here is the cluster's to decide.
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.legacy.timeParserPolicy": "CORRECTED",
    # Java never compiles a method of more than 8000 bytes: several short ones are faster than a stage's one.
    "spark.sql.codegen.hugeMethodLimit": "8000",
    # Thousands of files are listed by a few tasks, not by a task each.
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "16",
    "spark.sql.files.maxRecordsPerFile": "5000000",
}
COUNTS = ("rows_read", "rows_valid", "rows_quarantined", "rows_duplicate")
SPARK_TYPES = {"integer": "int", "long": "bigint", "timestamp": "timestamp_ntz"}  # others are called the same
CHECKS: dict[str, Callable[..., Column]] = {
    "not_equal": operator.ne, "at_least": operator.ge, "greater_than": operator.gt, "at_most": operator.le,
    "less_than": operator.lt, "between": Column.between, "one_of": Column.isin,
}  # fmt: skip
LINEAGE = ("batch_id", "file_name", "file_line")
QUARANTINE = ("source", *LINEAGE, "rule_ids", "raw_line")
DUPLICATE = "duplicate_row"
NO_HEADER = 0
LONGEST_FILE = 2**40  # lines; a line's place in its batch is one number, file * LONGEST_FILE + file_line
OPEN_AT_ONCE = 16
Spec = dict[str, Any]


class BatchError(Exception):
    """The batch cannot be done as it is; the text says what to change."""


def _hadoop(spark: SparkSession, uri: str) -> tuple[Any, Any, Any]:
    """Give the JVM, the file system of a uri and its path: Hadoop knows every scheme that Spark knows."""
    java: Any = spark._jvm  # there wherever the job itself runs; a Spark Connect client has none
    path = java.org.apache.hadoop.fs.Path(uri)
    return java, path.getFileSystem(spark._jsc.hadoopConfiguration()), path


def _remove(spark: SparkSession, folder: str, *names: str) -> None:
    for name in names:
        _, system, path = _hadoop(spark, f"{folder}/{name}")
        system.delete(path, True)


def open_input(spark: SparkSession, feed: Spec, file: Spec) -> Spec | None:
    """Find a file and read its header; None for a file without a line.

    Adds path (its name in Spark), header_line and columns. Raises BatchError if the file cannot be read.
    """
    try:
        java, system, path = _hadoop(spark, file["uri"])
        path_in_spark = (
            java.org.apache.hadoop.fs.Path(system.makeQualified(path).toString()).toUri().toString()
        )
        codec = java.org.apache.hadoop.io.compress.CompressionCodecFactory(system.getConf()).getCodec(path)
        with closing(system.open(path)) as stream:
            content = codec.createInputStream(stream) if codec else stream
            # ISO-8859-1 maps every byte to one character and back.
            reader = java.java.io.BufferedReader(java.java.io.InputStreamReader(content, "ISO-8859-1"))
            number, line = 1, reader.readLine()
            while line == "":
                number, line = number + 1, reader.readLine()
    except Py4JJavaError as error:
        raise BatchError(f"{file['name']} cannot be read: {error.java_exception.toString()}") from error
    if line is None:
        return None
    found = file | {"path": path_in_spark, "header_line": NO_HEADER, "columns": feed["header"]}
    if feed["header"] is True:
        found |= {
            "header_line": number,
            "columns": read_header(feed, file["name"], line.encode("iso-8859-1")),
        }
    return found


def read_header(feed: Spec, name: str, line: bytes) -> list[str]:
    """Split a header into its column names. Raises BatchError if a wanted column is missing or named twice."""
    text = line.decode(feed["encoding"], "replace").removeprefix("\ufeff")
    quoting: Spec = {"quotechar": feed["quote"]} if feed["quote"] else {"quoting": csv.QUOTE_NONE}
    try:
        found = [name.strip() for name in next(csv.reader([text], delimiter=feed["delimiter"], **quoting))]
    except csv.Error as error:
        raise BatchError(f"{name}: the header cannot be read: {error}") from error
    if missing := [column for column in feed["file_columns"] if column not in found]:
        shown = ", ".join(column[:40] for column in found[:20])
        raise BatchError(f"{name}: the header lacks {', '.join(missing)}; found {shown}")
    if twice := [column for column in feed["file_columns"] if found.count(column) > 1]:
        raise BatchError(f"{name}: the header names {', '.join(twice)} more than once")
    return found


def read_lines(spark: SparkSession, inputs: list[Spec], feed: Spec) -> DataFrame:
    """Read files as physical lines: _value (bytes), file (its rank in `inputs`), block_start (of the split), id.

    `id` grows by one from line to line of a split. With each line comes what holds for all lines of its file:
    width (how many columns), positions (of the wanted ones) and from_name (texts found in the file's name).
    """
    table = []
    for rank, file in enumerate(inputs):
        row = {
            "path": file["path"],
            "file": rank,
            "from_name": file["from_name"],
            "width": len(file["columns"]),
        }
        table.append(row | {"positions": [file["columns"].index(column) for column in feed["file_columns"]]})
    literal = [re.sub(r"([\\{}\[\]*?])", r"\\\1", file["uri"]) for file in inputs]  # no name is a pattern
    lines = spark.read.load(literal, "text", "value string").select(
        F.col("value").alias("_value"),
        F.col("_metadata.file_path").alias("path"),
        F.col("_metadata.file_block_start").alias("block_start"),
        F.monotonically_increasing_id().alias("id"),
    )
    schema = "path string, file int, from_name array<string>, width int, positions array<int>"
    return lines.join(_small_table(spark, table, schema), "path")


def _small_table(spark: SparkSession, rows: list[Spec], schema: str) -> DataFrame:
    """Give rows as a table that travels with the plan: no job of its own, no Python worker."""
    content = F.from_json(F.lit(json.dumps(rows)), f"array<struct<{schema}>>")
    return F.broadcast(spark.range(1).select(F.inline(content)))


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


def split_line(line: Column, feed: Spec, most: int) -> Column:
    """Split a line into its fields, quoted as RFC 4180 has it or not; null if quotes are broken or fields too many.

    Most lines have no quote, and splitting those is five times faster.
    """
    delimiter, quote = re.escape(feed["delimiter"]), re.escape(feed["quote"])
    plain = F.split(line, delimiter, most + 1)  # one too many says enough; a broken line may have millions
    if not quote:
        return plain
    # Possessive: every character is tried once, however broken the line.
    field = f"(?:{quote}[^{quote}]*+(?:{quote}{quote}[^{quote}]*+)*+{quote}|[^{quote}{delimiter}]*+)"
    intact = line.rlike(f"^{field}(?:{delimiter}{field}){{0,{most - 1}}}\\z")
    found = F.regexp_extract_all(line, F.lit(f"(?<=^|{delimiter})({field})"))
    # The lambda also parts the stage's generated code in two methods, each short enough for Java to compile.
    fields = F.transform(found, lambda field: _unquote(field, F.lit(feed["quote"])))
    return F.when(~F.contains(line, F.lit(feed["quote"])), plain).when(intact, fields)


def _unquote(field: Column, quote: Column) -> Column:
    inner = F.substring(field, F.lit(2), F.length(field) - 2)
    return F.when(F.startswith(field, quote), F.replace(inner, F.concat(quote, quote), quote)).otherwise(
        field
    )


def read_texts(lines: DataFrame, feed: Spec, most: int) -> DataFrame:
    """Add the text of every column, trimmed, null where nothing is; and _broken, the rule if there is no telling."""
    line, names = F.col("raw_line"), feed["texts"]
    # A byte order mark also comes before data: in files without a header, or put together from several.
    marked = F.when(F.startswith(line, F.lit("\ufeff")), F.substring(line, 2, 2**31 - 1)).otherwise(line)
    lines = lines.withColumn("_line", F.when(F.col("_readable"), marked))
    lines = lines.withColumn("_fields", split_line(F.col("_line"), feed, most))
    malformed = F.coalesce(F.size("_fields") != F.col("width"), F.lit(True))
    broken = F.when(~F.col("_readable"), "encoding_invalid").when(malformed, "malformed_row")
    fields = [F.get("_fields", F.get("positions", F.lit(n))) for n in range(len(feed["file_columns"]))]
    lines = lines.withColumns({f"_{n}": F.nullif(F.trim(field), F.lit("")) for n, field in enumerate(fields)})
    for number, (column, how) in enumerate(feed["derived"].items()):
        text = F.get("from_name", F.lit(number))  # null unless derived from the file's name
        if how["substring"]:
            text = F.substring(names[how["substring"]], how["start"], how["length"])
        elif how["concat"]:
            parts = [part for c in how["concat"] for part in (F.lit(how["separator"]), F.col(names[c]))]
            text = F.concat(*parts[1:])  # null if one of them is missing
        lines = lines.withColumn(names[column], F.nullif(F.trim(text), F.lit("")))
    return lines.withColumn("_broken", broken)


def read_value(text: Column, kind: str, feed: Spec) -> Column:
    """Read text as a type of Spark's; null if it is not exactly that (nothing is rounded or guessed)."""
    if kind == "string":
        return text
    if kind == "timestamp_ntz":
        zone = feed["timestamps"]["time_zone"]
        return F.coalesce(*(_read_time(text, form, zone) for form in feed["timestamps"]["formats"]))
    point, thousands = re.escape(feed["decimal"]), re.escape(feed["thousands"])
    whole = rf"(?:\d{{1,3}}(?:{thousands}\d{{3}})++|\d*+)" if thousands else r"\d*+"
    scale = re.fullmatch(r"decimal\(\d+,(\d+)\)", kind)
    fraction = rf"(?:{point}\d{{0,{scale[1]}}})?" if scale else ""
    number = text.rlike(rf"^[+-]?(?={point}?\d){whole}{fraction}\z")
    if point + thousands != r"\.":
        text = F.translate(text, feed["decimal"] + feed["thousands"], ".")  # thousands become nothing
    return F.when(number, text.try_cast(kind))


def _read_time(text: Column, form: str, time_zone: str) -> Column:
    """Read a time as UTC; of a local time that comes twice in autumn the first is meant."""
    instant = F.try_to_timestamp(text, F.lit(form))
    says_its_zone = re.search("[VOXxZz]", re.sub("'[^']*'", "", form))
    utc = instant if says_its_zone or time_zone == "UTC" else F.to_utc_timestamp(instant, time_zone)
    return utc.cast("timestamp_ntz")


def content_number(texts: list[str]) -> Column:
    """Number a line by its content: 63 bits of xxHash64, from seed 42 on each text's hash the next one's seed.

    For sources that do not number their lines. A position would change with the next export; the content has
    the same number in every file, batch and order of arrival. A missing text counts as empty.
    """
    given = (F.coalesce(text, F.lit("")) for text in texts)
    return F.xxhash64(*given).bitwiseAND(F.lit(2**63 - 1))


def breaks(rule: Spec, kind: str) -> Column:
    """Tell whether a line breaks a rule; null if the value is missing or unreadable, which is said elsewhere."""
    given = rule["value"] if isinstance(rule["value"], list) else [rule["value"]]
    texts = (F.lit(str(value)) for value in given)
    wanted = [(F.to_timestamp(text) if kind == "timestamp_ntz" else text).cast(kind) for text in texts]
    return ~CHECKS[rule["check"]](F.col(rule["column"]), *wanted)


def judge(lines: DataFrame, feed: Spec, contract: Spec) -> DataFrame:
    """Add the contract's columns, typed, and rule_ids: every broken rule, "" for none, null for an empty line."""
    kinds = {name: SPARK_TYPES.get(c["type"], c["type"]) for name, c in contract["columns"].items()}
    texts = {name: F.col(feed["texts"][column]) for name, column in feed["columns"].items()}
    texts |= {name: F.lit(text) for name, text in feed["constants"].items()}
    values = {name: F.lit(None).cast(kind) for name, kind in kinds.items()}
    values |= {name: read_value(text, kinds[name], feed) for name, text in texts.items()}
    if feed["line_number"] == "content":
        values["line_number"] = content_number([feed["texts"][column] for column in feed["key"]])
    rules: dict[str, Column] = {}
    for name in (name for name in kinds if name in texts):
        if contract["columns"][name]["required"]:
            rules[f"{name}_missing"] = texts[name].isNull()
        if kinds[name] != "string":
            rules[f"{name}_invalid"] = texts[name].isNotNull() & F.isnull(name)
    rules |= {rule["id"]: breaks(rule, kinds[rule["column"]]) for rule in contract["rules"] + feed["rules"]}
    broken = F.concat_ws(",", *(F.when(condition, F.lit(rule_id)) for rule_id, condition in rules.items()))
    rule_ids = F.when(F.col("raw_line") != "", F.coalesce("_broken", broken))
    return lines.withColumns(values).withColumn("rule_ids", rule_ids)


def stage_lines(spark: SparkSession, spec: Spec, inputs: list[Spec]) -> DataFrame:
    """Judge every line of the files, headers and empty ones too, and write down what the next steps need."""
    feed, columns, staged = spec["feed"], list(spec["contract"]["columns"]), f"{spec['output']}/staged"
    lines = decode_lines(read_lines(spark, inputs, feed), feed["encoding"])
    texts = read_texts(lines, feed, max((len(file["columns"]) for file in inputs), default=1))
    rejected = F.lit(feed["duplicates"] == "quarantine") | (F.col("rule_ids") != "")
    judged = judge(texts, feed, spec["contract"]).select(
        *("file", "block_start", "id", *columns, "rule_ids"),
        F.when(rejected, F.col("raw_line")).alias("raw_line"),
        F.when(F.col("rule_ids") == "", F.xxhash64(*columns)).alias("hash"),
    )
    judged.write.mode("overwrite").parquet(staged)
    return spark.read.schema(judged.schema).parquet(staged)


def number_lines(staged: DataFrame, inputs: list[Spec]) -> tuple[DataFrame, Counter[str]]:
    """Give the data lines with file_name, file_line (the first is 1) and place; and their number by file_name."""
    read, before, table = Counter[str](), Counter[int](), []
    counts = F.min("id").alias("first_id"), F.count("*").alias("lines"), F.count("rule_ids").alias("filled")
    for split in sorted(staged.groupBy("file", "block_start").agg(*counts).collect()):
        file, shift = inputs[split.file], before[split.file] + 1 - split.first_id
        row = {"file": split.file, "block_start": split.block_start, "shift": shift}
        table.append(row | {"file_name": file["file_name"], "header_line": file["header_line"]})
        before[split.file] += split.lines
        read[file["file_name"]] += split.filled
    read.subtract(file["file_name"] for file in inputs if file["header_line"] != NO_HEADER)
    schema = "file int, block_start bigint, shift bigint, file_name string, header_line bigint"
    lines = staged.join(_small_table(staged.sparkSession, table, schema), ["file", "block_start"])
    lines = lines.withColumn("file_line", F.col("id") + F.col("shift"))
    is_data = F.col("rule_ids").isNotNull() & (F.col("file_line") != F.col("header_line"))
    place = F.col("file") * F.lit(LONGEST_FILE) + F.col("file_line")
    return lines.where(is_data).withColumn("place", place), read


def repeated_hashes(staged: DataFrame) -> DataFrame:
    """Give the hashes that several valid lines have: few, so that few lines need be compared in full."""
    counted = staged.where(F.col("hash").isNotNull()).groupBy("hash").count()
    hashes = counted.where(F.col("count") > 1).select("hash").persist()
    hashes.count()  # now Spark knows how few, and sends them to the lines rather than the lines to them
    return hashes


def find_copies(valid: DataFrame, hashes: DataFrame, columns: list[str]) -> DataFrame:
    """Give the place of every line that equals an earlier one, by file_name and file_line, in all columns."""
    alike = valid.join(hashes, "hash", "left_semi").select("place", *columns)
    first = alike.groupBy(*columns).agg(F.min("place").alias("place")).select("place")
    return alike.select("place").join(first, "place", "left_anti").persist()


def write_lines(spec: Spec, lines: DataFrame, hashes: DataFrame) -> int:
    """Write every line to its place, treating duplicates as the feed wants; give the number of those dropped."""
    policy, columns, dropped = spec["feed"]["duplicates"], list(spec["contract"]["columns"]), 0
    valid, rejected = lines.where(F.col("rule_ids") == ""), lines.where(F.col("rule_ids") != "")
    if policy != "keep" and not hashes.isEmpty():
        copies = find_copies(valid, hashes, columns)
        found = copies.count()
        again = valid.join(copies, "place", "left_semi").withColumn("rule_ids", F.lit(DUPLICATE))
        valid = valid.join(copies, "place", "left_anti")
        rejected, dropped = (rejected, found) if policy == "drop" else (rejected.unionByName(again), 0)
    source, batch = F.lit(spec["feed"]["constants"]["source"]), F.lit(spec["batch_id"])
    parts = {"valid": valid.withColumn("batch_id", batch).select(*columns, *LINEAGE)}
    parts["quarantine"] = rejected.withColumns({"source": source, "batch_id": batch}).select(*QUARANTINE)
    with ThreadPoolExecutor() as pool:  # side by side: most of a small batch is waiting for a cold JVM
        list(pool.map(lambda part: parts[part].write.parquet(f"{spec['output']}/{part}", "overwrite"), parts))
    return dropped


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
        rules.update(dict.fromkeys(filter(None, ids.split(",")), rows))
    counts = (rows_read, written[""], written.total() - written[""], rows_read - written.total())
    whose = {"name": file["name"], "checksum": file["checksum"]}
    return whose | dict(zip(COUNTS, counts, strict=True)) | {"rules": dict(sorted(rules.items()))}


def run(spark: SparkSession, spec: Spec) -> Spec:
    """Do one batch and give its account, which is also written as _metrics.json.

    Raises BatchError if a file cannot be read as this feed, or if the account does not close.
    """
    for key, value in SETTINGS.items():
        spark.conf.set(key, value)
    output, files = spec["output"], spec["files"]
    with ThreadPoolExecutor(OPEN_AT_ONCE) as pool:  # a far storage answers each call slowly
        opened = pool.map(lambda file: open_input(spark, spec["feed"], file), files)
        inputs = sorted((file for file in opened if file), key=lambda file: file["file_name"])
    _remove(spark, output, "valid", "quarantine", "staged", "_metrics.json")
    staged = stage_lines(spark, spec, inputs)
    with ThreadPoolExecutor() as pool:
        hashes, (lines, read) = pool.submit(repeated_hashes, staged), number_lines(staged, inputs)
    dropped = write_lines(spec, lines, hashes.result())
    _remove(spark, output, "staged")
    written = count_written(spark, output)
    accounts = [account(file, read[file["file_name"]], written[file["file_name"]]) for file in files]
    totals = {count: sum(entry[count] for entry in accounts) for count in COUNTS}
    if totals["rows_duplicate"] != dropped or any(entry["rows_duplicate"] < 0 for entry in accounts):
        raise BatchError(f"the account does not close: {totals}, but {dropped} duplicates were dropped")
    metrics = {"batch_id": spec["batch_id"], "files": accounts, "totals": totals}
    _, system, path = _hadoop(spark, f"{output}/_metrics.json")
    with closing(system.create(path, True)) as stream:
        stream.write(json.dumps(metrics).encode())
    return metrics


def main() -> None:
    """Run the batch that --spec describes."""
    parser = argparse.ArgumentParser(description="Turn CSV files of one feed into checked sales lines.")
    parser.add_argument("--spec", required=True, help="uri of the JSON file that describes the batch")
    options = parser.parse_args()
    spark = SparkSession.builder.appName("sales_batch").getOrCreate()
    _, system, path = _hadoop(spark, options.spec)
    with closing(system.open(path)) as stream:
        spec = json.loads(bytes(stream.readAllBytes()))
    print(json.dumps(run(spark, spec)["totals"]))


if __name__ == "__main__":
    main()
