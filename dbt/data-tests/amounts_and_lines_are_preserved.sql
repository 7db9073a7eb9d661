-- From the deduplicated lines to the facts to the marts nothing is lost, doubled or rounded twice.
-- What a layer does not tell is null, which min and max pass over.
with totals as (
    select
        'lines' as layer,
        count(*) as line_count,
        coalesce(sum(quantity), 0) as unit_count,
        coalesce(sum((quantity * unit_price)::number(28, 4)), 0) as amount,
        null as amount_eur
    from {{ ref('int_sales_lines') }}
    union all
    select
        'sales' as layer,
        count(*) as line_count,
        coalesce(sum(quantity), 0) as unit_count,
        coalesce(sum(amount), 0) as amount,
        coalesce(sum(amount_eur), 0) as amount_eur
    from {{ ref('fct_sales') }}
    union all
    select
        'daily' as layer,
        coalesce(sum(line_count), 0) as line_count,
        coalesce(sum(unit_count), 0) as unit_count,
        coalesce(sum(gross_amount - returns_amount), 0) as amount,
        coalesce(sum(gross_amount_eur - returns_amount_eur), 0) as amount_eur
    from {{ ref('mart_daily_sales') }}
    union all
    select
        'orders' as layer,
        coalesce(sum(line_count), 0) as line_count,
        coalesce(sum(units_sold - units_returned), 0) as unit_count,
        null as amount,
        coalesce(sum(gross_amount_eur - returns_amount_eur), 0) as amount_eur
    from {{ ref('fct_orders') }}
    union all
    select
        'products' as layer,
        null as line_count,
        coalesce(sum(units_sold - units_returned), 0) as unit_count,
        null as amount,
        coalesce(sum(gross_amount_eur - returns_amount_eur), 0) as amount_eur
    from {{ ref('mart_product_performance') }}
)

select
    min(line_count) as fewest_lines,
    max(line_count) as most_lines,
    min(unit_count) as fewest_units,
    max(unit_count) as most_units,
    min(amount) as least_amount,
    max(amount) as greatest_amount,
    min(amount_eur) as least_amount_eur,
    max(amount_eur) as greatest_amount_eur
from totals
having
    min(line_count) <> max(line_count)
    or min(unit_count) <> max(unit_count)
    or min(amount) <> max(amount)
    or min(amount_eur) <> max(amount_eur)
