{{ config(materialized='table') }}

{%- set read = loads_read_by_all(['fct_sales', 'fct_orders', 'mart_returns']) %}

select
    line_key,
    source,
    order_id,
    load_number
from {{ ref('int_sales_lines') }}
where load_number > {{ read }}
union all
select
    lines.line_key,
    lines.source,
    lines.order_id,
    customers.load_number
from {{ ref('int_customer_history') }} as customers
inner join {{ ref('int_sales_lines') }} as lines
    on
        customers.source = lines.source
        and customers.customer_id = lines.customer_id
        and customers.valid_from <= lines.ordered_at
        and customers.valid_to > lines.ordered_at
where customers.load_number > {{ read }}
union all
select
    lines.line_key,
    lines.source,
    lines.order_id,
    products.load_number
from {{ ref('int_product_history') }} as products
inner join {{ ref('int_sales_lines') }} as lines
    on
        products.source = lines.source
        and products.product_id = lines.product_id
        and products.valid_from <= lines.ordered_at
        and products.valid_to > lines.ordered_at
where products.load_number > {{ read }}
union all
select
    lines.line_key,
    lines.source,
    lines.order_id,
    rates.load_number
from {{ ref('int_exchange_rates') }} as rates
inner join {{ ref('int_sales_lines') }} as lines
    on
        rates.currency = lines.currency
        and rates.valid_from <= lines.ordered_at::date
        and rates.valid_to > lines.ordered_at::date
where rates.load_number > {{ read }}
