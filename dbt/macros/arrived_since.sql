{#-
    The earliest arrival an incremental run has to read again: the newest row it holds, less the time a row may
    take from its stamp to being visible. `filter` picks the part of the table that the arrivals are compared with.
-#}
{% macro arrived_since(filter='true') -%}
    {%- set newest %}
        select
            coalesce(
                to_char(
                    dateadd(minute, -{{ var('arrival_overlap_minutes') }}, max(arrived_at)),
                    'YYYY-MM-DD HH24:MI:SS.FF6'
                ),
                '{{ var("start_of_time") }}'
            )
        from {{ this }}
        where {{ filter }}
    {%- endset -%}
    '{{ one_value(newest) }}'::timestamp_ntz
{%- endmacro %}
