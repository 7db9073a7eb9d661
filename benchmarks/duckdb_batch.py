"""The batch job's work in DuckDB: `python -m benchmarks.duckdb_batch --spec FILE`, the same order, the same output.

Written for the feed store_sales as a DuckDB user would: lines are read as text (a rejected line is kept as it
came), split, cast and judged once into a temporary table; equal hashes point out the few lines that are worth
comparing. Numbers are exact: what try_cast would round is refused by its form first.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.accounts import account

FIELD = '(?:"[^"]*(?:""[^"]*)*"|[^",]*)'
INTEGER, DECIMAL = r"[+-]?\d+", r"[+-]?(?:\d+(?:\.\d{0,4})?|\.\d{1,4})"
ISO = "%Y-%m-%dT%H:%M:%SZ"
COLUMNS = """source, order_id, line_number, product_id, product_name, product_category, customer_id,
    customer_segment, country, quantity, unit_price, currency, ordered_at, updated_at"""

JUDGE = f"""
create temp table judged as
with lines as (
    select raw_line, parse_filename(filename) as file_name, row_number() over () as number
    from read_csv(getvariable('paths'), columns = {{'raw_line': 'varchar'}}, delim = '\x01', quote = '',
        escape = '', header = true, auto_detect = false, filename = true)
),
split as (
    select *, case
        when not contains(raw_line, '"') then string_split(raw_line, ',')
        when regexp_full_match(raw_line, '{FIELD}(?:,{FIELD})*') then list_transform(
            regexp_extract_all(',' || raw_line, ',({FIELD})', 1),
            lambda field: if(starts_with(field, '"'), replace(field[2:-2], '""', '"'), field))
        end as fields
    from lines
),
texts as (
    select file_name, number, raw_line, coalesce(len(fields) <> 13, true) as malformed,
        nullif(trim(fields[1]), '') as order_id,
        nullif(trim(fields[2]), '') as line_number_text,
        nullif(trim(fields[3]), '') as product_id,
        nullif(trim(fields[4]), '') as product_name,
        nullif(trim(fields[5]), '') as product_category,
        nullif(trim(fields[6]), '') as customer_id,
        nullif(trim(fields[7]), '') as customer_segment,
        nullif(trim(fields[8]), '') as country,
        nullif(trim(fields[9]), '') as quantity_text,
        nullif(trim(fields[10]), '') as unit_price_text,
        nullif(trim(fields[11]), '') as currency,
        nullif(trim(fields[12]), '') as ordered_at_text,
        nullif(trim(fields[13]), '') as updated_at_text
    from split
),
typed as (
    select *, 'store_sales' as source,
        if(regexp_full_match(line_number_text, '{INTEGER}'), try_cast(line_number_text as bigint), null) as line_number,
        if(regexp_full_match(quantity_text, '{INTEGER}'), try_cast(quantity_text as integer), null) as quantity,
        if(regexp_full_match(unit_price_text, '{DECIMAL}'), try_cast(unit_price_text as decimal(18, 4)), null)
            as unit_price,
        try_strptime(ordered_at_text, '{ISO}') as ordered_at,
        try_strptime(updated_at_text, '{ISO}') as updated_at
    from texts
),
ruled as (
    select *, if(malformed, 'malformed_row', concat_ws(',',
        case when order_id is null then 'order_id_missing' end,
        case when line_number_text is null then 'line_number_missing' end,
        case when line_number_text is not null and line_number is null then 'line_number_invalid' end,
        case when product_id is null then 'product_id_missing' end,
        case when quantity_text is null then 'quantity_missing' end,
        case when quantity_text is not null and quantity is null then 'quantity_invalid' end,
        case when unit_price_text is null then 'unit_price_missing' end,
        case when unit_price_text is not null and unit_price is null then 'unit_price_invalid' end,
        case when currency is null then 'currency_missing' end,
        case when ordered_at_text is null then 'ordered_at_missing' end,
        case when ordered_at_text is not null and ordered_at is null then 'ordered_at_invalid' end,
        case when updated_at_text is null then 'updated_at_missing' end,
        case when updated_at_text is not null and updated_at is null then 'updated_at_invalid' end,
        case when quantity = 0 then 'quantity_not_zero' end,
        case when unit_price < 0 then 'unit_price_not_negative' end,
        case when currency not in ('EUR', 'GBP', 'USD', 'CHF', 'SEK', 'PLN') then 'currency_known' end,
        case when ordered_at not between timestamp '2000-01-01' and timestamp '2100-01-01'
            then 'ordered_at_plausible' end)) as rule_ids
    from typed
)
select {COLUMNS}, file_name, number, rule_ids,
    if(rule_ids = '', null, raw_line) as raw_line,
    if(rule_ids = '', hash({COLUMNS}), null) as content
from ruled
"""
FIRST_LINES = (
    "create temp table first_lines as select file_name, min(number) as first from judged group by all"
)
COPIES = f"""
create temp table copies as
select number from judged where content in (select content from judged group by content having count(*) > 1)
qualify row_number() over (partition by {COLUMNS} order by number) > 1
"""
VALID = f"""
copy (
    select {COLUMNS}, getvariable('batch_id') as batch_id, file_name, number - first + 2 as file_line
    from judged join first_lines using (file_name)
    where rule_ids = '' and number not in (from copies)
) to '{{output}}/valid' (format parquet, per_thread_output true)
"""
QUARANTINE = """
copy (
    select source, getvariable('batch_id') as batch_id, file_name, number - first + 2 as file_line, rule_ids, raw_line
    from judged join first_lines using (file_name) where rule_ids <> ''
) to '{output}/quarantine' (format parquet, per_thread_output true)
"""
COUNT = """
select file_name, if(number in (from copies), null, rule_ids) as fate, count(*) from judged group by all
"""


def run(spec: dict[str, Any]) -> dict[str, Any]:
    """Do a batch and give its account."""
    output = spec["output"].removeprefix("file://")
    Path(output).mkdir(parents=True, exist_ok=True)
    database = duckdb.connect()
    paths = [file["uri"].removeprefix("file://") for file in spec["files"]]
    database.execute("set variable paths = ?", [paths])
    database.execute("set variable batch_id = ?", [spec["batch_id"]])
    for statement in (JUDGE, FIRST_LINES, COPIES):
        database.execute(statement)
    for statement in (VALID, QUARANTINE):
        database.execute(statement.format(output=output))
    return account(spec, database.execute(COUNT).fetchall())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", type=Path, required=True)
    spec = json.loads(parser.parse_args().spec.read_text())
    Path(spec["output"].removeprefix("file://"), "_metrics.json").write_text(json.dumps(run(spec)))


if __name__ == "__main__":
    main()
