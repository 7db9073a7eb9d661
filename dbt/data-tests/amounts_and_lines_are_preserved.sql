-- From the deduplicated lines to the fact to the daily mart nothing is lost, doubled or rounded.
with totals as (
    select
        'lines' as layer,
        count(*) as line_count,
        coalesce(sum(quantity), 0) as unit_count,
        coalesce(sum((quantity * unit_price)::number(28, 4)), 0) as amount
    from {{ ref('int_sales_lines') }}
    union all
    select
        'fact' as layer,
        count(*) as line_count,
        coalesce(sum(quantity), 0) as unit_count,
        coalesce(sum(amount), 0) as amount
    from {{ ref('fct_sales') }}
    union all
    select
        'daily' as layer,
        coalesce(sum(line_count), 0) as line_count,
        coalesce(sum(unit_count), 0) as unit_count,
        coalesce(sum(gross_amount - returns_amount), 0) as amount
    from {{ ref('mart_daily_sales') }}
)

select
    min(line_count) as fewest_lines,
    max(line_count) as most_lines,
    min(amount) as least_amount,
    max(amount) as greatest_amount
from totals
having
    min(line_count) <> max(line_count)
    or min(unit_count) <> max(unit_count)
    or min(amount) <> max(amount)
