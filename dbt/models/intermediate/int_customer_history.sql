{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key=['source', 'customer_id'],
    post_hook=[
        "{{ forget_untold(ref('int_sales_lines'), ['source', 'customer_id']) }}",
        "{{ note_loads_read(['int_sales_lines']) }}",
    ],
) }}

-- depends_on: {{ ref('int_changed_tellings') }}
{{ attribute_history('customer_id', ['customer_segment', 'country']) }}
