-- A line is in the fact because a row of RAW tells it so: what a replay withdrew is not sold any more.
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

select sales.sales_key
from {{ ref('fct_sales') }} as sales
left join told
    on sales.sales_key = told.line_key and sales.updated_at = told.updated_at
where told.line_key is null
