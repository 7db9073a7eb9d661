{#-
    Each model's statements carry its name, sales_dbt:fct_sales, so that the account's query history tells cost and
    time by model (group by query_tag). dbt calls these two around every materialization; what else dbt asks keeps
    the tag of the profile, sales_dbt. A model's own `query_tag` config goes first.
-#}
{% macro set_query_tag() -%}
    {%- do run_query("alter session set query_tag = '" ~ model_query_tag() ~ "'") -%}
    {{ return(target.query_tag) }}
{%- endmacro %}

{% macro unset_query_tag(original_query_tag) -%}
    {%- do run_query("alter session set query_tag = '" ~ original_query_tag ~ "'") -%}
{%- endmacro %}

{% macro model_query_tag() -%}
    {{ return(config.get('query_tag') or target.query_tag ~ ':' ~ model.name) }}
{%- endmacro %}
