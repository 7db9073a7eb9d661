{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='sales_key',
    post_hook="{{ note_loads_read(load_inputs()) }}",
) }}

-- depends_on: {{ ref('int_changed_lines') }}
with lines as (
    select
        *,
        {{ date_key('ordered_at') }} as date_key
    from {{ ref('int_sales_lines') }}
    {% if is_incremental() %}
    where
        line_key in (
            select changed.line_key
            from {{ ref('int_changed_lines') }} as changed
            where changed.load_number > {{ loads_read() }}
        )
    {% endif %}
)

select
    lines.line_key as sales_key,
    lines.date_key,
    coalesce(customers.customer_key, {{ unknown_key() }}) as customer_key,
    coalesce(products.product_key, {{ unknown_key() }}) as product_key,
    iff(lines.country is null, {{ unknown_key() }}, {{ surrogate_key(['lines.country']) }}) as location_key,
    {{ surrogate_key(['lines.source', 'lines.order_id']) }} as order_key,
    lines.source,
    lines.order_id,
    lines.line_number,
    coalesce(lines.country, 'Unknown') as country,
    lines.currency,
    lines.quantity,
    lines.unit_price,
    (lines.quantity * lines.unit_price)::number(28, 4) as amount,
    rates.eur_rate,
    -- Rounded once, here: whatever adds up euros adds up these, so that every mart shows the same total.
    round(lines.quantity * lines.unit_price * rates.eur_rate, 4)::number(28, 4) as amount_eur,
    lines.quantity < 0 as is_return,
    lines.ordered_at,
    lines.updated_at,
    lines.line_fingerprint
from lines
left join {{ ref('dim_customer') }} as customers
    on
        lines.source = customers.source
        and lines.customer_id = customers.customer_id
        and lines.ordered_at >= customers.valid_from
        and lines.ordered_at < customers.valid_to
left join {{ ref('dim_product') }} as products
    on
        lines.source = products.source
        and lines.product_id = products.product_id
        and lines.ordered_at >= products.valid_from
        and lines.ordered_at < products.valid_to
left join {{ ref('dim_exchange_rate') }} as rates
    on lines.currency = rates.currency and lines.date_key = rates.date_key
