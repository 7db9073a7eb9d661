with orders as (
    select
        customers.source,
        customers.customer_id,
        orders.first_ordered_at as ordered_at,
        orders.gross_amount_eur,
        orders.returns_amount_eur,
        orders.net_amount_eur,
        not orders.is_return as sells
    from {{ ref('fct_orders') }} as orders
    inner join {{ ref('dim_customer') }} as customers on orders.customer_key = customers.customer_key
    where orders.customer_key <> {{ unknown_key() }}
),

newest_sales as (
    select
        source,
        max(first_ordered_at) as newest_ordered_at
    from {{ ref('fct_orders') }}
    where not is_return
    group by source
),

totals as (
    select
        source,
        customer_id,
        min(iff(sells, ordered_at, null)) as first_ordered_at,
        max(iff(sells, ordered_at, null)) as last_ordered_at,
        count_if(sells)::number(38, 0) as order_count,
        sum(gross_amount_eur)::number(38, 4) as gross_amount_eur,
        sum(returns_amount_eur)::number(38, 4) as returns_amount_eur,
        sum(net_amount_eur)::number(38, 4) as net_amount_eur
    from orders
    group by source, customer_id
),

-- How many customers of the source do worse; ranks, so that equals stay equal.
placed as (
    select
        totals.*,
        datediff(day, totals.last_ordered_at, newest_sales.newest_ordered_at) as recency_days,
        count(*) over (partition by totals.source) as customer_count,
        rank() over (
            partition by totals.source order by totals.last_ordered_at::date nulls first
        ) - 1 as less_recent,
        rank() over (partition by totals.source order by totals.order_count) - 1 as less_frequent,
        rank() over (partition by totals.source order by totals.net_amount_eur) - 1 as less_valuable
    from totals
    left join newest_sales on totals.source = newest_sales.source
)

select
    customers.customer_key,
    placed.source,
    placed.customer_id,
    customers.customer_segment,
    customers.country,
    date_trunc('month', placed.first_ordered_at)::date as cohort_month,
    placed.first_ordered_at,
    placed.last_ordered_at,
    placed.recency_days::number(10, 0) as recency_days,
    placed.order_count,
    placed.gross_amount_eur,
    placed.returns_amount_eur,
    placed.net_amount_eur,
    round(placed.gross_amount_eur / nullif(placed.order_count, 0), 4)::number(38, 4) as average_order_eur,
    {{ quintile('placed.less_recent', 'placed.customer_count') }} as recency_score,
    {{ quintile('placed.less_frequent', 'placed.customer_count') }} as frequency_score,
    {{ quintile('placed.less_valuable', 'placed.customer_count') }} as monetary_score
from placed
inner join {{ ref('dim_customer') }} as customers
    on
        placed.source = customers.source
        and placed.customer_id = customers.customer_id
        and customers.is_current
