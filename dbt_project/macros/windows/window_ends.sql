{#-
  The steps of a windowed view: one row at every instant at which one of its values can change, which is each
  instant of the running totals and, where the window has a lower end, the same instant W later. A row sees the
  totals at t as `now` and those at t - W as `past` (null where nothing was yet): (t - W, t] is their difference.

  totals: a relation that is unique by (user_id, event_timestamp).
-#}

{#- CTE `instants`. -#}
{% macro window_instants(totals, scale) %}
instants as (
    select user_id, event_timestamp from {{ totals }}
    {%- if scale != 'all' %}
    union -- distinct: an expiry can fall on an event
    select user_id, event_timestamp + to_microseconds({{ duration_us(scale) }}) from {{ totals }}
    {%- endif %}
)
{% endmacro %}

{#- FROM clause over `instants`, `now` and `past`. The totals are unique, so an as-of join has one answer. -#}
{% macro from_window(totals, scale) %}
    from instants
    asof join {{ totals }} as now
        on instants.user_id = now.user_id and instants.event_timestamp >= now.event_timestamp
    {%- if scale != 'all' %}
    asof left join {{ totals }} as past
        on instants.user_id = past.user_id
        and instants.event_timestamp - to_microseconds({{ duration_us(scale) }}) >= past.event_timestamp
    {%- endif %}
{% endmacro %}

{#- An additive measure over the window. -#}
{% macro window_difference(name, scale) %}
  {{- return('now.' ~ name ~ (' - coalesce(past.' ~ name ~ ', 0)' if scale != 'all' else '')) -}}
{% endmacro %}
