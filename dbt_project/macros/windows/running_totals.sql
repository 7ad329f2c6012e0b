{#-
  Select the running totals along each owner's instants, up to and including each instant.

  increments: a relation unique by key and event_timestamp, with a column for each measure. measures: list of
  {name, type}. kept: columns that go along as they are. In an update, increments begin at the first touched instant
  of each owner (see touched_instants), and the totals go on from the last ones before it. In a stream, increments have
  windows_left, and so have the totals, with that of the next ones; -1 for the last.
-#}
{% macro running_totals(increments, measures, key='user_id', kept=[]) %}
{%- set update = is_update() -%}
select
    increments.{{ key }},
    increments.event_timestamp
    {%- for name in kept %},
    increments.{{ name }}
    {%- endfor %}
    {%- for measure in measures %},
    cast(
        {%- if update %}coalesce(carried.{{ measure.name }}, 0) + {% endif -%}
        sum(increments.{{ measure.name }}) over so_far as {{ measure.type or 'bigint' }}) as {{ measure.name }}
    {%- endfor %}
    {%- if is_streaming() %},
    increments.windows_left,
    coalesce(lead(increments.windows_left) over so_far, -1) as next_windows_left
    {%- endif %}
from {{ increments }} as increments
{%- if update %}
left join (
    select totals.*
    from {{ touched(key) }} as touched
    asof join {{ of_touched(this, key) }} as totals
        on touched.{{ key }} = totals.{{ key }} and touched.touched_from > totals.event_timestamp
) as carried
    on increments.{{ key }} = carried.{{ key }}
{%- endif %}
window so_far as (partition by increments.{{ key }} order by increments.event_timestamp rows unbounded preceding)
{% endmacro %}
