{#-
    One key of 32 hexadecimal digits out of several columns. Each part carries its length, so that
    ('a|', 'b') and ('a', '|b') differ, and NULL differs from the empty string.
-#}
{% macro surrogate_key(parts) -%}
    md5(
        {%- for part in parts %}
        coalesce(length({{ part }}::varchar)::varchar || ':' || {{ part }}::varchar, '-')
        {%- if not loop.last %} || '|' ||{% endif -%}
        {% endfor %}
    )
{%- endmacro %}

{#- The key of the member that stands for "not told": readable, and no md5 can equal it. -#}
{% macro unknown_key() -%} 'unknown' {%- endmacro %}

{#- A time as text that is the same in every session, whatever its output format. -#}
{% macro time_text(column) -%} to_char({{ column }}, 'YYYY-MM-DD HH24:MI:SS.FF6') {%- endmacro %}

{#- The day of a time as a whole number, 20250131. -#}
{% macro date_key(column) -%}
    (year({{ column }}) * 10000 + month({{ column }}) * 100 + day({{ column }}))::number(8, 0)
{%- endmacro %}
