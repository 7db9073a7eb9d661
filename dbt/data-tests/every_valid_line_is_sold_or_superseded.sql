-- Every valid row of RAW, from file or stream, is in the fact: itself, or a later telling of the same line.
with told as (
    select
        line_key,
        updated_at
    from {{ ref('stg_batch__sales_lines') }}
    union all
    select
        line_key,
        updated_at
    from {{ ref('int_sales_events') }}
    where rule_ids is null
)

select told.*
from told
left join {{ ref('fct_sales') }} as sales
    on told.line_key = sales.sales_key and told.updated_at <= sales.updated_at
where sales.sales_key is null
