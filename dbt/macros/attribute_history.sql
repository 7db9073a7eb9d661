{#-
    The change history (slowly changing dimension, type 2) of an entity as the sales lines tell it.

    A line tells the attributes of its customer or product at the time of the sale. An attribute that a line
    leaves out keeps its last known value. Of lines at the same instant the one told last counts. A version
    lasts until the next sale that tells something else; equal neighbours are one version. Everything is
    computed from the deduplicated lines, so it is the same whatever the order in which they arrived.

    An incremental run computes the whole history of an entity again, from all its lines, but only of one that
    needs it. A line that says what is held for its time changes no version: it neither begins one nor keeps
    another from going on. So those are left that a changed line contradicts, and those of which a changed line
    used to say something else than it does now.
-#}
{% macro attribute_history(entity, attributes) -%}
{%- set by_entity = 'partition by source, ' ~ entity -%}
with
{%- if is_incremental() %}
changed as (
    select *
    from {{ ref('int_sales_lines') }}
    where load_number > {{ loads_read() }}
),

contradicted as (
    select
        changed.source,
        changed.{{ entity }}
    from changed
    left join {{ this }} as held
        on
            changed.source = held.source
            and changed.{{ entity }} = held.{{ entity }}
            and changed.ordered_at >= held.valid_from
            and changed.ordered_at < held.valid_to
    where
        changed.{{ entity }} is not null
        and (
            held.{{ entity }} is null
            {%- for attribute in attributes %}
            or (changed.{{ attribute }} is not null and changed.{{ attribute }} is distinct from held.{{ attribute }})
            {%- endfor %}
        )
    union distinct
    select
        earlier.source,
        earlier.{{ entity }}
    from {{ ref('int_changed_tellings') }} as earlier
    inner join changed
        on
            earlier.source = changed.source
            and earlier.order_id = changed.order_id
            and earlier.line_number = changed.line_number
    where
        earlier.{{ entity }} is not null
        and (
            earlier.ordered_at <> changed.ordered_at
            {%- for column in [entity] + attributes %}
            or earlier.{{ column }} is distinct from changed.{{ column }}
            {%- endfor %}
        )
),
{% endif %}
lines as (
    select lines.*
    from {{ ref('int_sales_lines') }} as lines
    {% if is_incremental() -%}
    inner join contradicted
        on lines.source = contradicted.source and lines.{{ entity }} = contradicted.{{ entity }}
    {% endif -%}
    where lines.{{ entity }} is not null
),

instants as (
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
    from lines
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
    versions.source,
    versions.{{ entity }},
    {%- for attribute in attributes %}
    versions.{{ attribute }},
    {%- endfor %}
    versions.valid_from,
    coalesce(versions.next_from, '{{ var("end_of_time") }}'::timestamp_ntz) as valid_to,
    versions.next_from is null as is_current,
    {% if is_incremental() -%}
    -- No line moves to a version that began at the same time before, and lasted as long or longer.
    iff(
        coalesce(versions.next_from, '{{ var("end_of_time") }}'::timestamp_ntz) <= held.valid_to,
        held.load_number,
        {{ next_load() }}
    ) as load_number
    {%- else -%}
    {{ next_load() }} as load_number
    {%- endif %}
from versions
{% if is_incremental() -%}
left join {{ this }} as held
    on
        versions.source = held.source
        and versions.{{ entity }} = held.{{ entity }}
        and versions.valid_from = held.valid_from
{% endif -%}
{%- endmacro %}
