with sales as (
    select
        *,
        ordered_at::date as sales_date
    from {{ ref('fct_sales') }}
)

select
    {{ surrogate_key(['date_key', 'country', 'currency', 'source']) }} as daily_sales_key,
    date_key,
    sales_date,
    country,
    currency,
    source,
    count(distinct order_id)::number(38, 0) as order_count,
    count(*)::number(38, 0) as line_count,
    sum(quantity)::number(38, 0) as unit_count,
    sum(iff(is_return, 0, amount))::number(38, 4) as gross_amount,
    sum(iff(is_return, -amount, 0))::number(38, 4) as returns_amount,
    sum(amount)::number(38, 4) as net_amount,
    sum(iff(is_return, 0, amount_eur))::number(38, 4) as gross_amount_eur,
    sum(iff(is_return, -amount_eur, 0))::number(38, 4) as returns_amount_eur,
    sum(amount_eur)::number(38, 4) as net_amount_eur
from sales
group by date_key, sales_date, country, currency, source
