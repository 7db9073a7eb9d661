"""A history of sales made straight in RAW, by Snowflake's own SQL: no files, no Spark, no Kafka.

Orders of four lines follow one another over three years. Seven of ten come in batch files, three as events. One in
thirty-three lines comes back, one customer in twenty is not named, one in ten customers and products changes its
attributes now and then. A new load brings the newest orders and, among them, late ones and lines told anew.
"""

from dataclasses import dataclass

from blocks.warehouse import STATEMENT_TIMEOUT_SECONDS, SalesWarehouse

LINES_PER_CUSTOMER, PRODUCTS = 40, 5_000
SECONDS_PER_ORDER_AT_10M = 38  # three years
COUNTRIES = "France,Germany,Spain,Italy,Poland,Sweden,Norway,EIRE"
CURRENCIES = "EUR,EUR,EUR,EUR,PLN,SEK,GBP,USD"
ROWS_PER_FILE = 500_000


@dataclass(frozen=True)
class Load:
    """Lines `first` to `first + lines` of the history; `retold` of every 100 lines are older ones, told anew."""

    number: int
    first: int
    lines: int
    history: int
    retold: int = 0

    @property
    def name(self) -> str:
        return f"batch-{self.number:04}"


def lines_sql(load: Load) -> str:
    """Give the query that makes the lines of a load: the columns of a batch line, and `n` and `is_streamed`."""
    customers = load.history // LINES_PER_CUSTOMER
    seconds = SECONDS_PER_ORDER_AT_10M * 10_000_000 / load.history
    return f"""
with numbers as (
    select row_number() over (order by seq4()) - 1 as i from table(generator(rowcount => {load.lines}))
),
places as (
    select i, mod(i, 100) < {load.retold} as is_retold, mod(i, 100) = 99 and {load.retold} > 0 as is_late,
        {load.first} + i as newest,
        -- a prime apart, so that retold lines are spread over all of the history
        mod(i * 7919 + {load.number}, {max(load.first, 1)}) as older
    from numbers
),
numbered as (
    select i, iff(is_retold, older, newest) as n, iff(is_late, older, iff(is_retold, older, newest)) as moment,
        is_retold, is_late
    from places
),
ordered as (
    select *, floor(n / 4)::number(38, 0) as o, floor(moment / 4)::number(38, 0) as m,
        mod(n * 104729, {PRODUCTS}) as p, mod(n, 33) = 7 and not is_late as is_return
    from numbered
),
placed as (
    select *, mod(o * 7919, {customers}) as c, floor(m * 12 / {load.history})::number(38, 0) as epoch,
        dateadd(second, floor(m * {seconds}) + iff(is_return, 86400, 0), '2022-01-01'::timestamp_ntz) as ordered_at
    from ordered
)
select
    n,
    mod(o, 10) >= 7 as is_streamed,
    iff(mod(o, 10) >= 7, 'web_shop', 'store_sales') as source,
    'O' || o || iff(is_return, '-R', '') as order_id,
    mod(n + iff(is_return, 3, 0), 4) + 1 as line_number,
    'P' || p as product_id,
    'PRODUCT ' || p || iff(mod(p, 10) = 0, ' v' || mod(epoch, 5), '') as product_name,
    'CATEGORY ' || mod(p, 20) as product_category,
    iff(mod(o, 20) = 3, null, 'C' || c) as customer_id,
    case mod(c + iff(mod(c, 10) = 0, epoch, 0), 3)
        when 0 then 'consumer' when 1 then 'corporate' else 'small business' end as customer_segment,
    split_part('{COUNTRIES}', ',', mod(c, 8) + 1) as country,
    iff(is_return, -1, 1) * (1 + mod(n * 31, 12)) as quantity,
    ((100 + mod(p * 37, 5000) + iff(is_retold, 1, 0)) / 100)::number(18, 4) as unit_price,
    split_part('{CURRENCIES}', ',', mod(c, 8) + 1) as currency,
    ordered_at,
    dateadd(day, iff(is_retold, {load.number}, 0), ordered_at) as updated_at,
    {"sysdate()" if load.retold else "dateadd(day, 1, ordered_at::date)::timestamp_ntz"} as arrived_at
from placed
"""


def batch_sql(load: Load) -> str:
    """Give the statement that puts the lines that came in files into RAW."""
    return f"""
insert into RAW.SALES_BATCH_RAW
select source, order_id, line_number, product_id, product_name, product_category, customer_id, customer_segment,
    country, quantity, unit_price, currency, ordered_at, updated_at, '{load.name}',
    'lines_' || floor(n / {ROWS_PER_FILE})::number(38, 0) || '.csv', n + 2, arrived_at
from RAW.BENCH_LINES where not is_streamed
"""


def events_sql(load: Load) -> str:
    """Give the statement that puts the streamed lines into RAW as the sink writes them, on one partition."""
    return f"""
insert into RAW.SALES_RAW
with placed as (
    select *,
        (select count(*) from RAW.SALES_RAW) + row_number() over (order by n) - 1 as kafka_offset,
        date_part(epoch_millisecond, arrived_at) as now_ms
    from RAW.BENCH_LINES where is_streamed
)
select
    object_construct('topic', 'sales_events', 'partition', 0, 'offset', kafka_offset, 'CreateTime', now_ms,
        'SnowflakeConnectorPushTime', now_ms),
    object_construct('event_id', '{load.name}-' || n, 'event_type', iff(quantity < 0, 'return', 'sale'),
        'source', source, 'order_id', order_id, 'line_number', line_number, 'product_id', product_id,
        'product_name', product_name, 'product_category', product_category, 'customer_id', customer_id,
        'customer_segment', customer_segment, 'country', country, 'quantity', quantity,
        'unit_price', unit_price::varchar, 'currency', currency,
        'ordered_at', replace(to_char(ordered_at, 'YYYY-MM-DD HH24:MI:SS'), ' ', 'T') || 'Z',
        'updated_at', replace(to_char(updated_at, 'YYYY-MM-DD HH24:MI:SS'), ' ', 'T') || 'Z')
from placed
"""


def audit_sql(load: Load) -> tuple[str, str]:
    """Give the statements that write down what was loaded, by file and by partition."""
    files = f"""
insert into MONITORING.LOAD_AUDIT
select '{load.name}', 'file', file_name, 'store_sales', null, null, null, count(*), count(*), 0, 0, sysdate()
from RAW.SALES_BATCH_RAW where batch_id = '{load.name}' group by file_name
"""
    stream = f"""
insert into MONITORING.LOAD_AUDIT
select '{load.name}', 'partition', 'sales_events-0', 'sales_events', null, landed - added, landed, added, added,
    0, 0, sysdate()
from (
    select (select count(*) from RAW.SALES_RAW) as landed,
        (select count(*) from RAW.BENCH_LINES where is_streamed) as added
)
"""
    return files, stream


def write_load(warehouse: SalesWarehouse, load: Load) -> None:
    """Write the lines of a load to RAW, with its audit."""
    with warehouse.session() as connection, connection.cursor() as cursor:
        for statement in (
            f"create or replace table RAW.BENCH_LINES as {lines_sql(load)}",
            batch_sql(load),
            events_sql(load),
            *audit_sql(load),
            "drop table RAW.BENCH_LINES",
        ):
            cursor.execute(statement, timeout=STATEMENT_TIMEOUT_SECONDS)
