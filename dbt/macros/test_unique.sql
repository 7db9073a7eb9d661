{#-
    No key comes twice. In place of dbt's own test of that name: keys that grow with the history are looked for
    among all rows, but only where the line or order was changed since the tests last passed.
-#}
{% test unique(model, column_name) -%}
    {%- set changed_keys = {
        'sales_key': 'changed.line_key',
        'return_key': 'changed.line_key',
        'order_key': surrogate_key(['changed.source', 'changed.order_id']),
    } -%}
    select
        {{ column_name }} as unique_field,
        count(*) as n_records
    from {{ model }}
    where
        {{ column_name }} is not null
        and {{ is_unjudged(column_name, changed_keys[column_name]) if column_name in changed_keys else 'true' }}
    group by {{ column_name }}
    having count(*) > 1
{%- endtest %}
