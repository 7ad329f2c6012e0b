{#- The model user_rhythm_<scale>, whole: its contract and its rows. -#}
{% macro user_rhythm(scale) %}
  {{ config(
      meta={'publish': 'features', 'entity': 'user', 'family': 'user_rhythm', 'scale': scale, 'update_by': 'user', 'sorts_narrow': true,
            'description': 'One row per user and instant at which the rhythm of the last ' ~ scale ~ ' can change.'}) }}
  {%- set span = window_span(scale) -%}
  {%- set columns = [
      column('hour_histogram_' ~ scale, 'bigint[]', 'Events by UTC hour, 0 to 23, ' ~ span ~ '.'),
      column('weekday_histogram_' ~ scale, 'bigint[]', 'Events by UTC weekday, Monday first, ' ~ span ~ '.'),
      column('daypart_shares_' ~ scale, 'double[]', 'Shares of the events ' ~ span ~ ' from 0 to 6, 6 to 12, 12 to 18 and 18 to 24 h UTC; four zeros over none.'),
      column('weekend_share_' ~ scale, 'double', 'Share of the events ' ~ span ~ ' on a UTC Saturday or Sunday, null over none.'),
      column('distinct_locations_' ~ scale, 'bigint', 'Different known locations ' ~ span ~ '.'),
      column('location_change_count_' ~ scale, 'bigint', 'Events whose known location differs from the last known one ' ~ span ~ '.'),
    ] -%}
  {%- do declare_columns(columns) -%}
  {%- if is_streaming() %}
{{ select_in_force(ref('int_user_rhythm_in_force'), scale, columns) }}
  {%- else %}
{{ user_rhythm_rows(scale) }}
  {%- endif %}
{% endmacro %}

{#- Its rows; in a stream those of each scale. -#}
{% macro user_rhythm_rows(scale) %}
  {%- set hours = all_unpacked('hours', 24) -%}
  {%- set weekdays = all_unpacked('weekdays', 7) %}
  {%- set dayparts = [] -%}
  {%- for start in range(0, 24, 6) -%}
    {%- do dayparts.append('cast(' ~ hours[start:start + 6] | join(' + ') ~ ' as double) / greatest(event_count, 1)') -%}
  {%- endfor %}

with {{ totals_with_reappearance(ref('int_rhythm_totals'), ref('int_events'), 'user_rhythm', scale) | trim }},

window_totals as (
    {%- call window_steps('counted_totals', scale, family='user_rhythm') %}
        {%- for measure in rhythm_measures() %}
        {{ window_difference(measure.name, scale) }} as {{ measure.name }},
        {%- endfor %}
        {%- for thing in reappearing_things('user_rhythm') %}
        {{ window_distinct(thing, scale) }} as {{ thing.column }}{{ ',' if not loop.last }}
        {%- endfor %}
    {%- endcall %}
)

select
    user_id,
    {{ 'scale,' if is_streaming() }}
    event_timestamp,
    cast({{ list_of(hours) }} as {{ engine_type('bigint[]') }}) as hour_histogram_{{ scale }},
    cast({{ list_of(weekdays) }} as {{ engine_type('bigint[]') }}) as weekday_histogram_{{ scale }},
    -- No null elements: they do not survive a feature store.
    {{ list_of(dayparts) }} as daypart_shares_{{ scale }},
    cast({{ weekdays[5:] | join(' + ') }} as double) / nullif(event_count, 0) as weekend_share_{{ scale }},
    distinct_locations as distinct_locations_{{ scale }},
    location_change_count as location_change_count_{{ scale }},
    {{ computed_at() }} as computed_at
from {{ in_file_order('window_totals') }}
{% endmacro %}


{#- The running totals: {name, type}. -#}
{% macro rhythm_measures() %}
  {{ return([{'name': 'event_count'}, {'name': 'location_change_count'}] + packed_columns('hours', 24) + packed_columns('weekdays', 7)) }}
{% endmacro %}
