{{ config(materialized='view') }}

{{ attribute_history(ref('int_sales_lines'), 'customer_id', ['customer_segment', 'country']) }}
