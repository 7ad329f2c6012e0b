{#-
  The algebra of windowed measures. Everything that a window counts or sums is a running total per user,
  held once in int_user_totals; the value of a window (t - W, t] is the total at t less the total at t - W.
  Sums are integers, so that adding and expiring leaves no residue.
-#}

{#- Additive measures of an event: {name, increment, type}. The increment is summed over an instant's events. -#}
{% macro event_measures() %}
  {%- set found = [{'name': 'event_count', 'increment': 'count(*)'}] -%}
  {%- for action in actions() -%}
    {%- do found.append({'name': action ~ '_count', 'increment': 'count(*) filter (where action_index = ' ~ loop.index0 ~ ')'}) -%}
  {%- endfor -%}
  {%- do found.append({'name': 'duration_ms_sum', 'increment': 'coalesce(sum(duration_ms), 0)'}) -%}
  {%- do found.append({'name': 'duration_known_count', 'increment': 'count(duration_ms)'}) -%}
  {%- for name in measures() -%}
    {%- do found.append({'name': measure_column(name ~ '_sum'), 'increment': 'coalesce(sum(' ~ measure_column(name) ~ '), 0)', 'type': 'hugeint'}) -%}
    {%- do found.append({'name': measure_column(name ~ '_known_count'), 'increment': 'count(' ~ measure_column(name) ~ ')'}) -%}
  {%- endfor -%}
  {%- do found.append({'name': 'category_change_count', 'increment': 'count(*) filter (where changes_category)'}) -%}
  {%- do found.append({'name': 'session_count', 'increment': 'count(*) filter (where starts_session)'}) -%}
  {%- do found.append({'name': 'conversion_count', 'increment': 'count(*) filter (where is_conversion)'}) -%}
  {{ return(found) }}
{% endmacro %}

{#- Additive measures of an instant. The square of a gap in ms passes BIGINT beyond 35 days: HUGEINT. -#}
{% macro instant_measures() %}
  {{ return([
    {'name': 'gap_ms_sum', 'increment': 'coalesce(gap_ms, 0)'},
    {'name': 'gap_ms_square_sum', 'increment': 'coalesce(cast(gap_ms as hugeint) * gap_ms, 0)', 'type': 'hugeint'},
    {'name': 'gap_count', 'increment': 'case when gap_ms is null then 0 else 1 end'},
  ]) }}
{% endmacro %}

{#- What a window counts once however often it appears: {name, key over int_events}. -#}
{% macro reappearing_things() %}
  {{ return([
    {'name': 'item', 'key': 'item_id', 'column': 'distinct_items', 'description': 'Different known items'},
    {'name': 'category', 'key': 'category_id', 'column': 'distinct_categories', 'description': 'Different known categories'},
    {'name': 'day', 'key': 'cast(event_timestamp as date)', 'column': 'active_days', 'description': 'UTC days with an event'},
  ]) }}
{% endmacro %}

{#- Population deviation from integer sums; null over nothing. n * sum of squares - square of sum is exact. -#}
{% macro deviation(n, total, squares) %}
  {{- return('sqrt(cast(' ~ n ~ ' * ' ~ squares ~ ' - cast(' ~ total ~ ' as hugeint) * ' ~ total ~ ' as double)) / nullif(' ~ n ~ ', 0)') -}}
{% endmacro %}

{% macro mean(total, n) %}
  {{- return('cast(' ~ total ~ ' as double) / nullif(' ~ n ~ ', 0)') -}}
{% endmacro %}
