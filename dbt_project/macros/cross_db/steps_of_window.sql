{#-
  What window_steps selects: see there. values: its value columns, over the rows `now` and `past`.
-#}
{% macro steps_of_window(totals, scale, key, values) %}
  {{- return(adapter.dispatch('steps_of_window', 'scalespace')(totals, scale, key, values)) -}}
{% endmacro %}

{#-
  An entry holds what is now and looks up its past; an expiry holds its past and looks up what is now. So a row
  costs one as-of join, and as the totals are unique by key and event_timestamp, that join has one answer.
-#}
{% macro default__steps_of_window(totals, scale, key, values) %}
  {%- set update = is_update() -%}
  {%- set sql %}
    select
        now.{{ key }},
        now.event_timestamp,
        {{ values }}
    from {{ '(select * from ' ~ totals ~ ' where event_timestamp >= touched_from)' if update else totals }} as now
    {%- if scale != 'all' %}
    {%- set width = 'to_microseconds(' ~ duration_us(scale) ~ ')' %}
    asof left join {{ totals }} as past
        on now.{{ key }} = past.{{ key }} and now.event_timestamp - {{ width }} >= past.event_timestamp
    union all
    select
        past.{{ key }},
        past.event_timestamp + {{ width }},
        {{ values }}
    from {{ '(select * from ' ~ totals ~ ' where event_timestamp + ' ~ width ~ ' >= touched_from)' if update else totals }} as past
    asof join {{ totals }} as now
        on past.{{ key }} = now.{{ key }} and past.event_timestamp + {{ width }} >= now.event_timestamp
    -- An expiry that falls on an entry has its row already.
    where now.event_timestamp < past.event_timestamp + {{ width }}
    {%- endif %}
  {%- endset -%}
  {{- return(sql) -}}
{% endmacro %}

{#-
  Entries and expiries are sorted together along the key, and each instant's last row has seen what is now and what is past:
  one shuffle and one sort of twice the totals, where two as-of joins would need two of each.
-#}
{% macro spark__steps_of_window(totals, scale, key, values) %}
  {%- set sql %}
    {%- if scale == 'all' %}
    select
        now.{{ key }},
        now.event_timestamp,
        {{ values }}
    from {{ totals }} as now
    {%- else %}
    select
        key_of_step as {{ key }},
        instant_of_step as event_timestamp,
        {{ values }}
    from (
        select
            key_of_step,
            instant_of_step,
            last(now, true) over so_far as now,
            last(past, true) over so_far as past,
            lead(instant_of_step) over (partition by key_of_step order by instant_of_step, side) as next_instant
        from (
            select entries.{{ key }} as key_of_step, entries.event_timestamp as instant_of_step, 0 as side, struct(entries.*) as now, null as past
            from {{ totals }} as entries
            union all
            select expiries.{{ key }}, {{ add_us('expiries.event_timestamp', duration_us(scale)) }}, 1, null, struct(expiries.*)
            from {{ totals }} as expiries
        )
        window so_far as (partition by key_of_step order by instant_of_step, side rows unbounded preceding)
    )
    where next_instant is distinct from instant_of_step
    {%- endif %}
  {%- endset -%}
  {{- return(sql) -}}
{% endmacro %}
