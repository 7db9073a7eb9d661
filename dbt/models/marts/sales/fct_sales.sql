{{ config(materialized='incremental', incremental_strategy='merge', unique_key='sales_key') }}

with lines as (
    select
        *,
        {{ date_key('ordered_at') }} as date_key
    from {{ ref('int_sales_lines') }}
    {% if is_incremental() %}
    where
        -- lines that are new or told anew
        line_fingerprint not in (select held.line_fingerprint from {{ this }} as held)
        -- and lines whose customer or product got another history behind them, or whose day another rate
        or line_key in (
            select held.sales_key
            from {{ this }} as held
            left join {{ ref('dim_customer') }} as customers
                on
                    held.customer_key = customers.customer_key
                    and held.ordered_at >= customers.valid_from
                    and held.ordered_at < customers.valid_to
            left join {{ ref('dim_product') }} as products
                on
                    held.product_key = products.product_key
                    and held.ordered_at >= products.valid_from
                    and held.ordered_at < products.valid_to
            left join {{ ref('dim_exchange_rate') }} as rates
                on held.currency = rates.currency and held.date_key = rates.date_key
            where
                customers.customer_key is null
                or products.product_key is null
                or held.eur_rate is distinct from rates.eur_rate
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
