{#-
    The change history (slowly changing dimension, type 2) of an entity as the sales lines tell it.

    A line tells the attributes of its customer or product at the time of the sale. An attribute that a line
    leaves out keeps its last known value. Of lines at the same instant the one told last counts. A version
    lasts until the next sale that tells something else; equal neighbours are one version. Everything is
    computed from the deduplicated lines, so it is the same whatever the order in which they arrived.
-#}
{% macro attribute_history(lines, entity, attributes) -%}
{%- set by_entity = 'partition by source, ' ~ entity -%}
with instants as (
    select
        source,
        {{ entity }},
        ordered_at,
        {%- for attribute in attributes %}
        last_value({{ attribute }} ignore nulls) over (
            {{ by_entity }} order by ordered_at, updated_at, order_id, line_number
            rows between unbounded preceding and current row
        ) as known_{{ attribute }}{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ lines }}
    where {{ entity }} is not null
    qualify
        row_number() over (
            {{ by_entity }}, ordered_at order by updated_at desc, order_id desc, line_number desc
        ) = 1
),

changes as (
    select *
    from instants
    qualify
        row_number() over ({{ by_entity }} order by ordered_at) = 1
        {%- for attribute in attributes %}
        or known_{{ attribute }} is distinct from lag(known_{{ attribute }}) over ({{ by_entity }} order by ordered_at)
        {%- endfor %}
),

versions as (
    select
        source,
        {{ entity }},
        {%- for attribute in attributes %}
        known_{{ attribute }} as {{ attribute }},
        {%- endfor %}
        ordered_at as valid_from,
        lead(ordered_at) over ({{ by_entity }} order by ordered_at) as next_from
    from changes
)

select
    source,
    {{ entity }},
    {%- for attribute in attributes %}
    {{ attribute }},
    {%- endfor %}
    valid_from,
    coalesce(next_from, '{{ var("end_of_time") }}'::timestamp_ntz) as valid_to,
    next_from is null as is_current
from versions
{%- endmacro %}
