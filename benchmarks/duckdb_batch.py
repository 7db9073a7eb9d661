"""The batch job's work in DuckDB: `duckdb_batch.py --spec FILE`, the same specification, the same output.

Written for the feed store_sales as a DuckDB user would: lines in, split, cast with try_cast, judged once into a
temporary table, exact duplicates found by hash before anything wide is sorted.
"""

import argparse
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import duckdb

RULES = """
    order_id_missing:        order_id is null
    line_number_missing:     t.line_number is null
    line_number_invalid:     t.line_number is not null and v.line_number is null
    product_id_missing:      product_id is null
    quantity_missing:        t.quantity is null
    quantity_invalid:        t.quantity is not null and v.quantity is null
    unit_price_missing:      t.unit_price is null
    unit_price_invalid:      t.unit_price is not null and v.unit_price is null
    currency_missing:        currency is null
    ordered_at_missing:      t.ordered_at is null
    ordered_at_invalid:      t.ordered_at is not null and v.ordered_at is null
    updated_at_missing:      t.updated_at is null
    updated_at_invalid:      t.updated_at is not null and v.updated_at is null
    quantity_not_zero:       v.quantity = 0
    unit_price_not_negative: v.unit_price < 0
    currency_known:          currency not in ('EUR', 'GBP', 'USD', 'CHF', 'SEK', 'PLN')
    ordered_at_plausible:    v.ordered_at not between timestamp '2000-01-01' and timestamp '2100-01-01'
"""
CASTS = {
    "line_number": r"case when regexp_full_match({0}, '[+-]?\d+') then try_cast({0} as bigint) end",
    "quantity": r"case when regexp_full_match({0}, '[+-]?\d+') then try_cast({0} as integer) end",
    "unit_price": r"case when regexp_full_match({0}, '[+-]?(\d+(\.\d{{0,4}})?|\.\d{{1,4}})')"
    " then try_cast({0} as decimal(18, 4)) end",
    "ordered_at": "try_strptime({0}, '%Y-%m-%dT%H:%M:%SZ')",
    "updated_at": "try_strptime({0}, '%Y-%m-%dT%H:%M:%SZ')",
}
FIELD = '(?:"[^"]*(?:""[^"]*)*"|[^",]*)'


def rows_of(files: list[dict[str, Any]]) -> str:
    """Give the query of all data lines: file_name, file_line, raw_line."""
    paths = [file["uri"].removeprefix("file://") for file in files]
    return f"""
        with lines as (
            select raw_line, parse_filename(filename) as file_name, row_number() over () as number
            from read_csv({paths}, columns = {{'raw_line': 'VARCHAR'}}, delim = '\x01', quote = '', escape = '',
                          header = true, auto_detect = false, filename = true, max_line_size = 20000000)
        )
        select file_name, number - starts[file_name] + 2 as file_line, raw_line
        from lines, (
            select map_from_entries(list((file_name, first))) as starts
            from (select file_name, min(number) as first from lines group by file_name)
        )"""


def judged(files: list[dict[str, Any]], columns: list[str]) -> str:
    """Give the query of all data lines with the contract's columns, rule_ids and raw_line."""
    names = [column for column in columns if column != "source"]
    texts = [f"nullif(trim(fields[{i}]), '') as {name}" for i, name in enumerate(names, 1)]
    values = [f"{CASTS[name].format('t.' + name)} as {name}" for name in CASTS]
    rules = [rule.split(":", 1) for rule in RULES.strip().splitlines()]
    reasons = ", ".join(f"case when {test} then '{name.strip()}' end" for name, test in rules)
    kept = ", ".join(f"v.{name}" if name in CASTS else name for name in names)
    return f"""
        with fields as (
            select *, case
                when not contains(raw_line, '"') then string_split(raw_line, ',')
                when regexp_full_match(raw_line, '{FIELD}(?:,{FIELD})*') then list_transform(
                    regexp_extract_all(',' || raw_line, ',({FIELD})', 1),
                    lambda field: case when starts_with(field, '"')
                        then replace(field[2:-2], '""', '"') else field end)
                end as fields
            from ({rows_of(files)})
        ),
        texts as (
            select file_name, file_line, raw_line, {", ".join(texts)},
                coalesce(len(fields) <> {len(names)}, true) as malformed
            from fields
        ),
        typed as (select t, {{{", ".join(f"'{v.rsplit(' as ', 1)[1]}': {v.rsplit(' as ', 1)[0]}" for v in values)}}} as v
                  from texts t)
        select 'store_sales' as source, {kept.replace("v.", "v.")}, t.file_name, t.file_line, t.raw_line,
            case when t.malformed then 'malformed_row' else concat_ws(',', {reasons}) end as rule_ids
        from typed"""
