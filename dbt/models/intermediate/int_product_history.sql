{{ config(materialized='view') }}

{{ attribute_history(ref('int_sales_lines'), 'product_id', ['product_name', 'product_category']) }}
