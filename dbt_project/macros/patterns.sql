{#-
  What a user is clustered by: how much he does (on a logarithmic scale), of what, at which pace. One place for the sample
  that patterns are fitted on and for the rows that they are given to, so that both measure the same.
  Returns [{name, sql, about}] over the columns of user_activity_<scale>.
-#}
{% macro pattern_features(scale) %}
  {%- set found = [] -%}
  {%- for name in ['event_count', 'active_days', 'distinct_items', 'distinct_categories'] -%}
    {%- do found.append({'name': name, 'sql': 'ln(1 + ' ~ name ~ '_' ~ scale ~ ')', 'about': 'Logarithm of 1 and ' ~ name ~ '_' ~ scale ~ '.'}) -%}
  {%- endfor -%}
  {%- for action in actions() -%}
    {%- do found.append({'name': action ~ '_share', 'sql': action ~ '_count_' ~ scale ~ ' / cast(event_count_' ~ scale ~ ' as double)', 'about': 'Share of ' ~ action ~ ' in the events of the last ' ~ scale ~ '.'}) -%}
  {%- endfor -%}
  {%- for name in ['gap_ms', 'duration_ms'] + measures().keys() | list -%}
    {#- A refund is a negative amount: the logarithm is of its size, with the sign kept. -#}
    {%- set value = name ~ '_mean_' ~ scale -%}
    {%- do found.append({'name': name ~ '_mean', 'sql': 'sign(' ~ value ~ ') * ln(1 + abs(' ~ value ~ '))', 'about': 'Logarithm of 1 and the size of ' ~ value ~ ', with its sign; null where that is.'}) -%}
  {%- endfor -%}
  {{ return(found) }}
{% endmacro %}

{#- The scale of the activity that patterns are of. -#}
{% macro pattern_scale() %}{{ return('30d') }}{% endmacro %}
