-- A line is in the fact because a row of RAW tells it so.
select sales.sales_key
from {{ ref('fct_sales') }} as sales
left join {{ ref('int_sales_tellings') }} as told
    on
        sales.source = told.source
        and sales.order_id = told.order_id
        and sales.line_number = told.line_number
        and sales.updated_at = told.updated_at
where
    told.source is null
    and {{ is_unjudged('sales.sales_key') }}
