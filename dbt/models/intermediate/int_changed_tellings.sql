{{ config(materialized='table') }}

{%- set readers = [
    'int_customer_history', 'int_product_history', 'mart_daily_sales', 'mart_product_performance',
] %}

select
    told.source,
    told.order_id,
    told.line_number,
    told.product_id,
    told.product_name,
    told.product_category,
    told.customer_id,
    told.customer_segment,
    told.country,
    told.currency,
    told.ordered_at,
    lines.load_number
from {{ ref('int_sales_lines') }} as lines
inner join {{ ref('int_sales_tellings') }} as told
    on
        lines.source = told.source
        and lines.order_id = told.order_id
        and lines.line_number = told.line_number
where lines.load_number > {{ loads_read_by_all(readers) }}
