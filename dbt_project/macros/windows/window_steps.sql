{#-
  The steps of a windowed view: one row at every instant at which one of its values can change, which is each
  instant of the running totals and, where the window has a lower end, the same instant W later. A row sees the
  totals at t as `now` and those at t - W as `past` (null where nothing was yet): (t - W, t] is their difference.
  Called with the value columns as its body; the entity's key and the instant come first.

  In an update, only the steps from the first touched instant on are made, and `totals` has to have touched_from
  (see totals_in_reach). In a stream, scale is `each`, and only the steps in force are made
  (see steps_in_force).
-#}
{% macro window_steps(totals, scale, key='user_id', family=none) %}
    {%- if scale == 'each' -%}
    {{- steps_in_force(totals, family, caller() | trim) }}
    {%- else -%}
    {{- steps_of_window(totals, scale, key, caller() | trim) }}
    {%- endif -%}
{% endmacro %}

{#-
  In an update, the CTEs `reach` and `totals`, with a comma after them: of each touched owner, the running totals that
  the steps from touched_from on can see, which go back to the last instant at or before touched_from - W. So the cost
  of an update is that of the rows that it makes. Otherwise nothing.
-#}
{% macro totals_in_reach(running_totals, scale, key='user_id') %}
{%- if is_update() and not is_streaming() -%}
reach as (
    -- An as-of join would sort the totals of everybody, to find one row of a few.
    select touched.*, max(base.event_timestamp) as base_at
    from {{ touched(key) }} as touched
    left join {{ running_totals }} as base
        on touched.{{ key }} = base.{{ key }}
        {%- if scale == 'all' %} and touched.touched_from > base.event_timestamp
        {%- else %} and touched.touched_from - to_microseconds({{ duration_us(scale) }}) >= base.event_timestamp
        {%- endif %}
    group by all
),

totals as (
    select totals.*, reach.touched_from
    from {{ running_totals }} as totals
    join reach using ({{ key }})
    where totals.event_timestamp >= coalesce(reach.base_at, totals.event_timestamp)
),

{% endif -%}
{% endmacro %}

{#- What the steps are made of: the running totals of a part of the users (see of_part), or in an update those in reach. -#}
{% macro totals_of(running_totals, key='user_id') %}
  {%- if is_streaming() -%}{{ return(running_totals) }}{%- endif -%}
  {%- if is_update() -%}{{ return('totals') }}{%- endif -%}
  {{ return(of_part(running_totals) if key == 'user_id' else running_totals) }}
{% endmacro %}

{#- An additive measure over the window. -#}
{% macro window_difference(name, scale) %}
  {{- return('now.' ~ name ~ (' - coalesce(past.' ~ name ~ ', 0)' if scale != 'all' else '')) -}}
{% endmacro %}

{#- A list of additive measures over the window, cell by cell. -#}
{% macro window_list_difference(name, scale) %}
  {%- if scale == 'all' -%}
    {{ return('now.' ~ name) }}
  {%- endif -%}
  {{ return('case when past.' ~ name ~ ' is null then now.' ~ name ~ ' else ' ~ list_less('now.' ~ name, 'past.' ~ name) ~ ' end') }}
{% endmacro %}

{#- 'in the last 7d', for descriptions. -#}
{% macro window_span(scale, whose='the user\'s') %}
  {{ return('over ' ~ whose ~ ' whole history' if scale == 'all' else 'in the last ' ~ scale) }}
{% endmacro %}

{#- Refuse a scale that a view of closed hours or days cannot have. -#}
{% macro check_whole(scale, unit, family) %}
  {%- if scale != 'all' and duration_us(scale) % duration_us(unit) -%}
    {{ bad_input(family ~ '_' ~ scale ~ ': its values are stamped at the end of a whole ' ~ unit ~ ', so a scale has to be a multiple of ' ~ unit ~ ': rename the model file') }}
  {%- endif -%}
{% endmacro %}
