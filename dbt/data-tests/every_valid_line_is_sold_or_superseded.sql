-- Every valid row of RAW, from file or stream, is in the fact: itself, or a later telling of the same line.
{%- set judged = loads_read('data_tests') | int -%}
{%- set since %}
    select
        coalesce(
            to_char(
                dateadd(hour, -{{ var('arrival_judged_hours') }}, max(arrived_at)), 'YYYY-MM-DD HH24:MI:SS.FF6'
            ),
            '{{ var("start_of_time") }}'
        )
    from {{ ref('int_sales_lines') }}
    where load_number <= {{ judged }}
{%- endset %}
{%- set first_arrival = one_value(since) if judged > 0 and not flags.FULL_REFRESH else var('start_of_time') %}

select
    told.source,
    told.order_id,
    told.line_number,
    told.updated_at
from {{ ref('int_sales_tellings') }} as told
left join {{ ref('fct_sales') }} as sales
    on
        told.source = sales.source
        and told.order_id = sales.order_id
        and told.line_number = sales.line_number
        and told.updated_at <= sales.updated_at
where
    sales.sales_key is null
    and told.arrived_at >= '{{ first_arrival }}'::timestamp_ntz
