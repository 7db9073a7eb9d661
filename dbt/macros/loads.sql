{#-
    Loads are numbered, so that a model knows what it has not read yet without looking at a clock. A row that is
    written or rewritten by `int_sales_lines`, a history or the rates takes the number of the next load, which is
    higher than any that a model has noted as read. A model reads the rows above its own note, and notes in
    `int_watermarks` how far it has read once it is built: what breaks off in between is read again.
-#}
{% macro load_inputs() -%}
    {{ return(['int_sales_lines', 'int_customer_history', 'int_product_history', 'int_exchange_rates']) }}
{%- endmacro %}

{% macro next_load() -%}
    (
        select (coalesce(max(marks.load_number), 0) + 1)::number(38, 0)
        from {{ ref('int_watermarks') }} as marks
    )
{%- endmacro %}

{#-
    The load up to which a reader (this model, if none is named) has read, 0 if it never did. A literal, not a
    subquery: it is compared with millions of rows, and only a constant lets the warehouse skip those it excludes.
-#}
{% macro loads_read(reader=none) -%}
    {%- set marks = ref('int_watermarks') -%}
    {{ one_value(
        'select coalesce(max(load_number), 0) from ' ~ marks ~ " where reader = '" ~ (reader or this.identifier) ~ "'"
    ) if execute and load_relation(marks) else 0 }}
{%- endmacro %}

{#-
    The load up to which all these models have read, and the data tests, if they ever passed. In a build that makes
    all of the models anew there is nothing left to read for them.
-#}
{% macro loads_read_by_all(models) -%}
    {%- set marks = ref('int_watermarks') -%}
    {%- set keys = models | map('replace', '', 'model.' ~ project_name ~ '.', 1) | list if execute else [] -%}
    {%- if execute and not load_relation(marks) -%}
        0
    {%- elif execute and flags.FULL_REFRESH and keys | reject('in', selected_resources) | list | length == 0 -%}
        {{ one_value('select coalesce(max(load_number), 0) + 1 from ' ~ marks) }}
    {%- else -%}
        {{ one_value(
            "select iff(count_if(reader <> 'data_tests') = " ~ models | length ~ ', min(load_number), 0) from ('
            ~ 'select reader, max(load_number) as load_number from ' ~ marks
            ~ " where reader in ('data_tests', '" ~ models | join("', '") ~ "') group by reader)"
        ) }}
    {%- endif -%}
{%- endmacro %}

{#- Ask the warehouse for one value while compiling; 0 while parsing, when there is nobody to ask. -#}
{% macro one_value(query) -%}
    {{ run_query(query).columns[0].values()[0] if execute else 0 }}
{%- endmacro %}

{#- Note how far this model has read: up to the newest row of what it is made of. -#}
{% macro note_loads_read(inputs, reader=none) -%}
    insert into {{ ref('int_watermarks') }} (reader, load_number)
    select
        '{{ reader or this.identifier }}' as reader,
        coalesce(max(newest.load_number), 0) as load_number
    from (
        {%- for input in inputs %}
        select max(load_number) as load_number from {{ ref(input) }}
        {{ 'union all' if not loop.last }}
        {%- endfor %}
    ) as newest
{%- endmacro %}

{#- Remove the rows of this model whose keys, columns of the same names, nothing in `told` tells any more. -#}
{% macro forget_untold(told, keys) -%}
    {%- if is_incremental() -%}
    delete from {{ this }}
    where not exists (
        select 1
        from (select distinct {{ keys | join(', ') }} from {{ told }}) as told
        where
            {%- for key in keys %}
            {{ 'and ' if not loop.first }}told.{{ key }} = {{ this }}.{{ key }}
            {%- endfor %}
    )
    {%- endif -%}
{%- endmacro %}
