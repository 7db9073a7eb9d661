{#-
    The earliest arrival an incremental run has to read again: the newest row it holds, less the time a row may
    take from its stamp to being visible. `filter` picks the part of the table that the arrivals are compared with.
-#}
{% macro arrived_since(filter='true') -%}
    (
        select
            coalesce(
                dateadd(minute, -{{ var('arrival_overlap_minutes') }}, max(arrived_at)),
                '{{ var("start_of_time") }}'::timestamp_ntz
            )
        from {{ this }}
        where {{ filter }}
    )
{%- endmacro %}
