{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='order_key',
    post_hook="{{ note_loads_read(load_inputs()) }}",
) }}

-- depends_on: {{ ref('int_changed_lines') }}
with sales as (
    select *
    from {{ ref('fct_sales') }}
    {% if is_incremental() %}
    where
        order_key in (
            select {{ surrogate_key(['changed.source', 'changed.order_id']) }}
            from {{ ref('int_changed_lines') }} as changed
            where changed.load_number > {{ loads_read() }}
        )
    {% endif %}
),

totals as (
    select
        order_key,
        source,
        order_id,
        min(customer_key) as customer_key,
        min(location_key) as location_key,
        min(customer_key) <> max(customer_key) or min(location_key) <> max(location_key) as is_disputed,
        count(*)::number(38, 0) as line_count,
        sum(iff(is_return, 0, quantity))::number(38, 0) as units_sold,
        sum(iff(is_return, -quantity, 0))::number(38, 0) as units_returned,
        iff(min(currency) = max(currency), min(currency), null) as currency,
        iff(min(currency) = max(currency), sum(amount)::number(38, 4), null) as net_amount,
        sum(iff(is_return, 0, amount_eur))::number(38, 4) as gross_amount_eur,
        sum(iff(is_return, -amount_eur, 0))::number(38, 4) as returns_amount_eur,
        sum(amount_eur)::number(38, 4) as net_amount_eur,
        min(ordered_at) as first_ordered_at,
        max(ordered_at) as last_ordered_at,
        count_if(is_return) = count(*) as is_return,
        count_if(is_return) > 0 as has_returns
    from sales
    group by order_key, source, order_id
),

-- Where lines differ, the first that names a customer speaks for the order; where none does, the first one.
-- Few orders need it, and sorting the lines of all would cost more than everything else here.
disputed as (
    select order_key
    from totals
    where is_disputed
),

speakers as (
    select
        order_key,
        customer_key,
        location_key
    from sales
    where order_key in (select disputed.order_key from disputed)
    qualify
        row_number() over (
            partition by order_key
            order by iff(customer_key = {{ unknown_key() }}, 1, 0), ordered_at, line_number
        ) = 1
)

select
    totals.order_key,
    {{ date_key('totals.first_ordered_at') }} as date_key,
    coalesce(speakers.customer_key, totals.customer_key) as customer_key,
    coalesce(speakers.location_key, totals.location_key) as location_key,
    totals.source,
    totals.order_id,
    totals.line_count,
    totals.units_sold,
    totals.units_returned,
    totals.currency,
    totals.net_amount,
    totals.gross_amount_eur,
    totals.returns_amount_eur,
    totals.net_amount_eur,
    totals.first_ordered_at,
    totals.last_ordered_at,
    totals.is_return,
    totals.has_returns
from totals
left join speakers on totals.order_key = speakers.order_key
