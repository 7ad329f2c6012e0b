{#-
  Select the running totals along each owner's instants, up to and including each instant.

  increments: a relation unique by key and event_timestamp, with a column for each measure. measures: list of
  {name, type}. kept: columns that go along as they are. In an update, increments begin at the first touched instant
  of each owner (see touched_instants), and the totals go on from the last ones before it. In a stream, there are totals
  at the instants that its views look at.
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
from {{ increments_in_sight(increments, measures, key, kept) if is_streaming() and key == 'user_id' else increments }} as increments
{%- if update %}
left join (
    select totals.*
    from {{ touched(key) }} as touched
    asof join {{ this }} as totals
        on touched.{{ key }} = totals.{{ key }} and touched.touched_from > totals.event_timestamp
) as carried
    on increments.{{ key }} = carried.{{ key }}
{%- endif %}
window so_far as (partition by increments.{{ key }} order by increments.event_timestamp rows unbounded preceding)
{% endmacro %}

{#-
  The increments of a stream's owners until now, summed up to the next instant that one of its views can look at: each
  from the last event on; what leaves a window between then and now, with the instant before it; and the last seven, of
  which user_recency counts the gaps. Of a year that is a handful.
-#}
{% macro increments_in_sight(increments, measures, key, kept) -%}
(
    select
        {{ key }},
        seen_at as event_timestamp
        {%- for name in kept %},
        max({{ name }}) filter (where event_timestamp = seen_at) as {{ name }}
        {%- endfor %}
        {%- for measure in measures %},
        sum({{ measure.name }}) as {{ measure.name }}
        {%- endfor %}
    from (
        select
            *,
            min(case
                when event_timestamp >= touched_from
                    or eighth_after is null
                    {%- for width in user_windows_us() %}
                    or (event_timestamp <= touched_until - to_microseconds({{ width }}) and next_at > touched_from - to_microseconds({{ width }}))
                    {%- endfor %}
                    then event_timestamp
            end) over (partition by {{ key }} order by event_timestamp rows between current row and unbounded following) as seen_at
        from (
            select
                increments.*,
                touched.touched_from,
                touched.touched_until,
                lead(event_timestamp) over in_order as next_at,
                lead(event_timestamp, 8) over in_order as eighth_after
            from {{ increments }} as increments
            join {{ touched(key) }} as touched using ({{ key }})
            where event_timestamp <= touched_until
            window in_order as (partition by {{ key }} order by event_timestamp)
        )
    )
    group by {{ key }}, seen_at
)
{%- endmacro %}

{#- The widths in microseconds of all windows of users' views. -#}
{% macro user_windows_us() %}
  {%- set widths = [] -%}
  {%- if not execute -%}{{ return(widths) }}{%- endif -%}
  {%- for node in graph.nodes.values() if node.resource_type == 'model' and update_entity(node) == 'user' -%}
    {%- set width = duration_us(node.config.meta.scale) if node.config.meta.get('scale') else none -%}
    {%- if width is not none and width not in widths -%}{%- do widths.append(width) -%}{%- endif -%}
  {%- endfor -%}
  {{ return(widths | sort) }}
{% endmacro %}
