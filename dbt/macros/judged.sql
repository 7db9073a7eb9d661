{#-
    What data tests have to judge. A test that would read the whole history judges what changed since every test
    last passed: a build that failed is judged again with the next one. A full refresh is judged whole.
-#}
{% macro is_unjudged(key, changed_key='changed.line_key') -%}
    {%- set changed_lines, judged = ref('int_changed_lines'), loads_read('data_tests') | int -%}
    {%- if judged > 0 and not flags.FULL_REFRESH -%}
    {{ key }} in (
        select {{ changed_key }} from {{ changed_lines }} as changed where changed.load_number > {{ judged }}
    )
    {%- else -%}
    true
    {%- endif -%}
{%- endmacro %}

{#- After a build of which every data test passed, or warns for good: note how far the tests have judged. -#}
{% macro note_judged(results) -%}
    {%- set note = note_loads_read(load_inputs(), 'data_tests') -%}
    {%- if execute and flags.WHICH == 'build' -%}
        {%- set passed = [] -%}
        {%- for result in results if result.status in ('pass', 'warn') -%}
            {%- do passed.append(result.node.unique_id) -%}
        {%- endfor -%}
        {%- set tests = graph.nodes.values() | selectattr('resource_type', 'equalto', 'test') -%}
        {%- if tests | map(attribute='unique_id') | reject('in', passed) | list | length == 0 -%}
            {{ note }}
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}
