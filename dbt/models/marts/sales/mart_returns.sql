{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='return_key',
    post_hook=[
        "{{ forget_untold(
            '(select sales_key as return_key from ' ~ ref('fct_sales') ~ ' where is_return)', ['return_key']
        ) }}",
        "{{ note_loads_read(load_inputs()) }}",
    ],
) }}

-- depends_on: {{ ref('int_changed_lines') }}
with
{% if is_incremental() %}
changed as (
    select line_key
    from {{ ref('int_changed_lines') }}
    where load_number > {{ loads_read() }}
),
{% endif %}
all_returns as (
    select
        *,
        iff(
            order_id like '%-R',
            {{ surrogate_key(['source', 'left(order_id, length(order_id) - 2)', 'line_number']) }},
            null
        ) as told_original_key
    from {{ ref('fct_sales') }}
    where is_return
),

returns as (
    select *
    from all_returns
    {% if is_incremental() %}
    where
        sales_key in (select changed.line_key from changed)
        or told_original_key in (select changed.line_key from changed)
    {% endif %}
),

originals as (
    select *
    from {{ ref('fct_sales') }}
    where
        not is_return
        and sales_key in (select returns.told_original_key from returns)
)

select
    returns.sales_key as return_key,
    originals.sales_key as original_sales_key,
    returns.order_key,
    returns.date_key,
    returns.customer_key,
    returns.product_key,
    returns.location_key,
    returns.source,
    returns.order_id,
    returns.line_number,
    (-returns.quantity)::number(10, 0) as units_returned,
    (-returns.amount_eur)::number(28, 4) as returns_amount_eur,
    originals.quantity as original_units,
    originals.amount_eur as original_amount_eur,
    returns.ordered_at as returned_at,
    originals.ordered_at as original_ordered_at,
    datediff(day, originals.ordered_at, returns.ordered_at)::number(10, 0) as days_to_return,
    originals.sales_key is not null as has_original
from returns
left join originals on returns.told_original_key = originals.sales_key
