{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key=['source', 'product_id'],
    post_hook=[
        "{{ forget_untold(ref('int_sales_lines'), ['source', 'product_id']) }}",
        "{{ note_loads_read(['int_sales_lines']) }}",
    ],
) }}

-- depends_on: {{ ref('int_changed_tellings') }}
{{ attribute_history('product_id', ['product_name', 'product_category']) }}
