{#- The model user_activity_<scale>, whole: its contract and its rows. -#}
{% macro user_activity(scale) %}
  {{ config(
      meta={'publish': 'features', 'entity': 'user', 'family': 'user_activity', 'scale': scale, 'update_by': 'user', 'sorts_narrow': true,
            'description': 'One row per user and instant at which activity in the last ' ~ scale ~ ' can change.'}) }}
  {%- do declare_columns(user_activity_columns(scale)) -%}
  {%- if is_streaming() %}
{{ select_in_force(ref('int_user_activity_in_force'), scale, user_activity_columns(scale)) }}
  {%- else %}
{{ user_activity_rows(scale) }}
  {%- endif %}
{% endmacro %}

{#- Its rows; in a stream those of each scale. -#}
{% macro user_activity_rows(scale) %}
  {%- set things = reappearing_things('user_activity') %}

with {{ totals_with_reappearance(ref('int_user_totals'), ref('int_events'), 'user_activity', scale) | trim }},

window_totals as (
    {%- call window_steps('counted_totals', scale, family='user_activity') %}
        {%- for measure in event_measures() + instant_measures() %}
        {{ window_difference(measure.name, scale) }} as {{ measure.name }},
        {%- endfor %}
        {%- for thing in things %}
        {{ window_distinct(thing, scale) }} as {{ thing.column }}{{ ',' if not loop.last }}
        {%- endfor %}
    {%- endcall %}
)

select
    user_id,
    {{ 'scale,' if is_streaming() }}
    event_timestamp
    {%- for column in user_activity_columns(scale) %},
    {{ column.sql }} as {{ column.name }}
    {%- endfor %},
    {{ computed_at() }} as computed_at
from {{ in_file_order('window_totals') }}
{% endmacro %}


{#- The value columns: what the contract declares and how each is made from the window's totals. -#}
{% macro user_activity_columns(scale) %}
  {%- set span = window_span(scale) -%}
  {%- set found = [{'name': 'event_count', 'type': 'bigint', 'sql': 'event_count', 'about': 'Events'}] -%}
  {%- for action in actions() -%}
    {%- do found.append({'name': action ~ '_count', 'type': 'bigint', 'sql': action ~ '_count', 'about': 'Events of action ' ~ action}) -%}
  {%- endfor -%}
  {%- do found.append({'name': 'duration_ms_sum', 'type': 'bigint', 'sql': 'duration_ms_sum', 'about': 'Sum of known durations in milliseconds'}) -%}
  {%- do found.append({'name': 'duration_ms_mean', 'type': 'double', 'sql': mean('duration_ms_sum', 'durations_known'), 'about': 'Mean of known durations in milliseconds, null over none'}) -%}
  {%- for name, decimals in measures().items() -%}
    {%- set total = measure_column(name ~ '_sum') -%}
    {%- do found.append({'name': name ~ '_sum', 'type': 'double', 'sql': 'cast(' ~ total ~ ' as double) / ' ~ 10 ** decimals, 'about': 'Sum of known values of ' ~ name}) -%}
    {%- do found.append({'name': name ~ '_mean', 'type': 'double', 'sql': mean(total, measure_column(name ~ '_known')) ~ ' / ' ~ 10 ** decimals, 'about': 'Mean of known values of ' ~ name ~ ', null over none'}) -%}
  {%- endfor -%}
  {%- do found.append({'name': 'gap_ms_mean', 'type': 'double', 'sql': mean('gap_ms_sum', 'gaps_known'), 'about': 'Mean gap between instants that ended, in milliseconds, null over none'}) -%}
  {%- do found.append({'name': 'gap_ms_std', 'type': 'double', 'sql': deviation('gaps_known', 'gap_ms_sum', 'gap_ms_square_sum'), 'about': 'Population deviation of those gaps in milliseconds, null over none'}) -%}
  {%- for thing in reappearing_things('user_activity') -%}
    {%- do found.append({'name': thing.column, 'type': 'bigint', 'sql': thing.column, 'about': thing.description}) -%}
  {%- endfor -%}
  {%- do found.append({'name': 'category_change_count', 'type': 'bigint', 'sql': 'category_change_count', 'about': 'Events whose known category differs from the last known one'}) -%}
  {%- do found.append({'name': 'session_count', 'type': 'bigint', 'sql': 'session_count', 'about': 'Sessions that started'}) -%}

  {%- set columns = [] -%}
  {%- for entry in found -%}
    {%- set named = column(entry.name ~ '_' ~ scale, entry.type, entry.about ~ ' ' ~ span ~ '.') -%}
    {%- do named.update({'sql': entry.sql}) -%}
    {%- do columns.append(named) -%}
  {%- endfor -%}
  {{ return(columns) }}
{% endmacro %}
