{#-
  The algebra of windowed measures. Everything that a window counts or sums is a running total per user,
  held once in int_user_totals; the value of a window (t - W, t] is the total at t less the total at t - W.
  Sums are integers, so that adding and expiring leaves no residue.
-#}

{#- Longer ones (34 years) are no measurement, and made null: so 8 million of them still fit a BIGINT sum. -#}
{% macro longest_duration_ms() %}
  {{- return(2 ** 40) -}}
{% endmacro %}

{#- Additive measures of an event: {name, increment, type}. The increment is summed over an instant's events. -#}
{% macro event_measures() %}
  {%- set found = [{'name': 'event_count', 'increment': 'count(*)'}] -%}
  {%- for action in actions() -%}
    {%- do found.append({'name': action ~ '_count', 'increment': 'count(*) filter (where action_index = ' ~ loop.index0 ~ ')'}) -%}
  {%- endfor -%}
  {%- do found.append({'name': 'duration_ms_sum', 'increment': 'coalesce(sum(duration_ms), 0)'}) -%}
  {%- do found.append({'name': 'durations_known', 'increment': 'count(duration_ms)'}) -%}
  {%- for name in measures() -%}
    {%- do found.append({'name': measure_column(name ~ '_sum'), 'increment': 'coalesce(sum(' ~ measure_column(name) ~ '), 0)', 'type': wide_integer()}) -%}
    {%- do found.append({'name': measure_column(name ~ '_known'), 'increment': 'count(' ~ measure_column(name) ~ ')'}) -%}
  {%- endfor -%}
  {%- do found.append({'name': 'category_change_count', 'increment': 'count(*) filter (where changes_category)'}) -%}
  {%- do found.append({'name': 'session_count', 'increment': 'count(*) filter (where starts_session)'}) -%}
  {%- do found.append({'name': 'conversions', 'increment': 'count(*) filter (where is_conversion)'}) -%}
  {{ return(found) }}
{% endmacro %}

{#- Additive measures of an instant. The square of a gap in ms passes BIGINT beyond 35 days. -#}
{% macro instant_measures() %}
  {{ return([
    {'name': 'gap_ms_sum', 'increment': 'coalesce(gap_ms, 0)'},
    {'name': 'gap_ms_square_sum', 'increment': 'coalesce(cast(gap_ms as ' ~ wide_integer() ~ ') * gap_ms, 0)', 'type': wide_integer()},
    {'name': 'gaps_known', 'increment': 'case when gap_ms is null then 0 else 1 end'},
  ]) }}
{% endmacro %}

{#- Population deviation from integer sums; null over nothing. n * sum of squares - square of sum is exact. -#}
{% macro deviation(n, total, squares) %}
  {{- return('sqrt(cast(' ~ n ~ ' * ' ~ squares ~ ' - cast(' ~ total ~ ' as ' ~ wide_integer() ~ ') * ' ~ total ~ ' as double)) / nullif(' ~ n ~ ', 0)') -}}
{% endmacro %}

{% macro mean(total, n) %}
  {{- return('cast(' ~ total ~ ' as double) / nullif(' ~ n ~ ', 0)') -}}
{% endmacro %}

{#- A row of transition counts as probabilities: (count + prior / states) / (row total + prior). -#}
{% macro smoothed_row(counts, total) %}
  {%- set size = states() | length -%}
  {{- return(list_each(counts, 'n', '(n + ' ~ transition_prior() ~ ' / cast(' ~ size ~ ' as double)) / (' ~ total ~ ' + ' ~ transition_prior() ~ ')')) -}}
{% endmacro %}
