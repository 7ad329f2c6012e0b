{#-
  The model item_activity_<scale>, whole: its contract and its rows.

  An event counts for its item from the end of its UTC hour on, [h, h + 1h), and leaves the window W after that end.
-#}
{% macro item_activity(scale) %}
  {{ config(
      meta=dict(population_updates({'update_by': 'item'}), **{'publish': 'features', 'entity': 'item', 'family': 'item_activity', 'scale': scale,
            'description': 'One row per item and end of a UTC ' ~ ('day' if releases_privately() else 'hour') ~ ' at which its activity in the last ' ~ scale ~ ' can change.'})) }}
  {%- do check_whole(scale, '1h', 'item_activity') -%}
  {%- set things = reappearing_things('item_activity') -%}
  {%- set span = window_span(scale, 'the item\'s') ~ ', of closed UTC hours' -%}
  {%- set columns = [] -%}
  {%- for measure in item_measures() -%}
    {%- do columns.append(column(measure.name ~ '_' ~ scale, 'bigint', measure.about ~ ' ' ~ span ~ '.')) -%}
  {%- endfor -%}
  {%- for thing in things -%}
    {%- do columns.append(column(thing.column ~ '_' ~ scale, 'bigint', thing.description ~ ' ' ~ span ~ '.')) -%}
  {%- endfor -%}
  {%- do declare_columns(columns, entity='item') %}

{%- if releases_privately() %}
-- depends_on: {{ ref('int_item_hours') }}
{{ released_item_activity(scale) }}
{%- else %}
with {{ totals_with_reappearance(ref('int_item_totals'), ref('int_item_hours'), 'item_activity', scale, key='item_id') | trim }},

window_counts as (
    {%- call window_steps('counted_totals', scale, key='item_id') %}
        {%- for measure in item_measures() %}
        {{ window_difference(measure.name, scale) }} as {{ measure.name }}_{{ scale }},
        {%- endfor %}
        {%- for thing in things %}
        {{ window_distinct(thing, scale) }} as {{ thing.column }}_{{ scale }}{{ ',' if not loop.last }}
        {%- endfor %}
    {%- endcall %}
)

select *, {{ computed_at() }} as computed_at
from window_counts
{%- endif %}
{% endmacro %}

{#-
  The same of what was released: by days, and an item's events are the sum of its actions. Different users of a window
  are no sum of those of its days, so nobody knows them.
-#}
{% macro released_item_activity(scale) %}
with window_counts as (
    {%- call window_steps(ref('int_item_totals'), scale, key='item_id') %}
        {%- for action in actions() %}
        greatest({{ window_difference('item_' ~ action ~ '_count', scale) }}, 0) as item_{{ action }}_count_{{ scale }}{{ ',' if not loop.last }}
        {%- endfor %}
    {%- endcall %}
)

select
    item_id,
    event_timestamp,
    cast({% for action in actions() %}item_{{ action }}_count_{{ scale }}{{ ' + ' if not loop.last }}{% endfor %} as bigint) as item_event_count_{{ scale }},
    {%- for action in actions() %}
    item_{{ action }}_count_{{ scale }},
    {%- endfor %}
    cast(null as bigint) as item_distinct_users_{{ scale }},
    {{ computed_at() }} as computed_at
from window_counts
{% endmacro %}


{#- Additive measures of an item's hour: {name, increment, about}. -#}
{% macro item_measures() %}
  {%- set found = [{'name': 'item_event_count', 'increment': 'count(*)', 'about': 'Events'}] -%}
  {%- for action in actions() -%}
    {%- do found.append({'name': 'item_' ~ action ~ '_count', 'increment': 'count(*) filter (where action_index = ' ~ loop.index0 ~ ')', 'about': 'Events of action ' ~ action}) -%}
  {%- endfor -%}
  {{ return(found) }}
{% endmacro %}
