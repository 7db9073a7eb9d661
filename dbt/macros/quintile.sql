{#-
    The fifth, 1 (lowest) to 5, in which a member stands of whom `worse` of `members` do worse. Members with equal
    values have equally many below them and share a score, unlike NTILE's, whose ties fall by chance. Whole
    numbers are divided without a remainder: no rounding can lift a score.
-#}
{% macro quintile(worse, members) -%}
    (1 + (5 * {{ worse }} - mod(5 * {{ worse }}, {{ members }})) / {{ members }})::number(1, 0)
{%- endmacro %}
