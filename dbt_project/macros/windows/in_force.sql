{#-
  What a stream makes of the window pattern. It asks each view of a user for one row, the one in force at touched_until,
  so no totals are needed along his instants: `now` are those at touched_until, `past` those at touched_until - W. The
  events between two such bounds enter and leave every window together. So they are told apart by the number of windows
  that they have left by then (`windows_left`), and summed up by it: a handful of rows for a user, however many events he has.
-#}

{#- Of a relation, what the touched users had until now. -#}
{% macro until_now(relation) -%}
(select * from {{ relation }} join {{ touched() }} using (user_id) where event_timestamp <= touched_until)
{%- endmacro %}

{#- How many windows an instant has left at touched_until. -#}
{% macro windows_left(instant='event_timestamp') -%}
case
        {%- for width in all_windows_us() %}
        when {{ instant }} > touched_until - to_microseconds({{ width }}) then {{ loop.index0 }}
        {%- endfor %}
        else {{ all_windows_us() | length }}
    end
{%- endmacro %}

{#- The widths in microseconds of all windows, the narrowest first. -#}
{% macro all_windows_us() %}
  {%- set widths = [] -%}
  {%- if not execute -%}{{ return(widths) }}{%- endif -%}
  {%- for node in graph.nodes.values() if node.resource_type == 'model' -%}
    {%- set width = duration_us(node.config.meta.scale) if node.config.meta.get('scale') else none -%}
    {%- if width is not none and width not in widths -%}{%- do widths.append(width) -%}{%- endif -%}
  {%- endfor -%}
  {{ return(widths | sort) }}
{% endmacro %}

{#-
  The one step of each window of a family: what is now, less what has left it. It is in force since the later of the last
  event and the last expiry. All scales at once, told apart by the column `scale`: planning a statement costs more than a
  thousand rows of it. totals: those of running_totals.
-#}
{% macro steps_in_force(totals, family, values) %}
    {%- set windows = [] -%}
    {%- for scale in scales_of(family) -%}
      {%- set width = duration_us(scale) if scale != 'all' else none -%}
      {%- do windows.append('(' ~ text(scale) ~ ', ' ~ (width or 'null') ~ ', ' ~ (all_windows_us().index(width) + 1 if width else 'null') ~ ')') -%}
    {%- endfor %}
    select
        now.user_id,
        windows.scale,
        greatest(now.event_timestamp, past.event_timestamp + to_microseconds(windows.width)) as event_timestamp,
        {{ values }}
    from (select * from {{ totals }} where next_windows_left < 0) as now
    cross join (values {{ windows | join(', ') }}) as windows (scale, width, place)
    left join {{ totals }} as past
        on now.user_id = past.user_id and past.windows_left >= windows.place and past.next_windows_left < windows.place
{% endmacro %}

{#- The scales of a family's models. -#}
{% macro scales_of(family) %}
  {%- set scales = [] -%}
  {%- if not execute -%}{{ return(scales) }}{%- endif -%}
  {%- for node in graph.nodes.values() if node.resource_type == 'model' and node.config.meta.get('family') == family and node.config.meta.get('scale') -%}
    {%- do scales.append(node.config.meta.scale) -%}
  {%- endfor -%}
  {{ return(scales | sort) }}
{% endmacro %}

{#- In a stream, a view of a windowed family: its rows of steps_in_force, whose columns are named `<name>_each`. -#}
{% macro select_in_force(relation, scale, columns) %}
select
    user_id,
    event_timestamp
    {%- for column in columns %},
    {{ column.name[:-(scale | length)] }}each as {{ column.name }}
    {%- endfor %},
    computed_at
from {{ relation }}
where scale = {{ text(scale) }}
{% endmacro %}

{#-
  The columns of totals that count a family's things at their last appearance: those in the window are what is now less what
  was then, as for any other measure.
-#}
{% macro appearance_measures(family) %}
  {%- set found = [] -%}
  {%- for thing in reappearing_things(family) -%}
    {%- do found.append({'name': thing.name ~ '_last_seen', 'type': 'bigint'}) -%}
  {%- endfor -%}
  {{ return(found) }}
{% endmacro %}

{#- A relation: increments by user_id and windows_left, with appearance_measures. events: those until now. -#}
{% macro with_appearances(increments, family, events) -%}
{%- set things = reappearing_things(family) -%}
(
    select
        increments.*
        {%- for thing in things %},
        coalesce({{ thing.name }}_last_seen, 0) as {{ thing.name }}_last_seen
        {%- endfor %}
    from {{ increments }} as increments
    left join (
        select
            user_id,
            windows_left
            {%- for thing in things %},
            count(*) filter (where thing = {{ loop.index }}) as {{ thing.name }}_last_seen
            {%- endfor %}
        from (
            {%- for thing in things %}
            select user_id, {{ loop.index }} as thing, min(windows_left) as windows_left
            from {{ events }}
            where {{ thing.key }} is not null
            group by user_id, {{ thing.key }}
            {{- '\n            union all' if not loop.last }}
            {%- endfor %}
        )
        group by user_id, windows_left
    ) as last_seen using (user_id, windows_left)
)
{%- endmacro %}
