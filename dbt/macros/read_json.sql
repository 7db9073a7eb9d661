{#-
    Typed values out of JSON text, NULL where the text cannot be read exactly as the contract's type: TRY_CAST
    alone would round 1.5 units to 2, and take a time without a zone in the session's zone.
-#}
{% macro json_text(path) -%} nullif(trim(record_content:{{ path }}::varchar), '') {%- endmacro %}

{% macro exact_integer(text, precision) -%}
    iff({{ text }} rlike '-?[0-9]+([.]0+)?', try_cast({{ text }} as number({{ precision }}, 0)), null)
{%- endmacro %}

{% macro exact_price(text) -%}
    iff({{ text }} rlike '-?[0-9]+([.][0-9]{1,4}0*)?', try_cast({{ text }} as number(18, 4)), null)
{%- endmacro %}

{% macro utc_time(text) -%}
    iff(
        {{ text }} rlike '[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?Z',
        try_cast(rtrim({{ text }}, 'Z') as timestamp_ntz(6)),
        null
    )
{%- endmacro %}
