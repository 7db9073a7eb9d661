{{ config(materialized='view') }}

{%- set line_columns = [
    'line_key', 'source', 'order_id', 'line_number', 'product_id', 'product_name', 'product_category',
    'customer_id', 'customer_segment', 'country', 'quantity', 'unit_price', 'currency', 'ordered_at', 'updated_at',
] %}

select
    {{ line_columns | join(',\n    ') }},
    'batch' as channel,
    loaded_at as arrived_at,
    batch_id || '/' || file_name || '#' || lpad(file_line::varchar, 12, '0') as arrival_id
from {{ ref('stg_batch__sales_lines') }}
union all
select
    {{ line_columns | join(',\n    ') }},
    'stream' as channel,
    arrived_at,
    arrival_id
from {{ ref('int_sales_events') }}
where rule_ids is null
