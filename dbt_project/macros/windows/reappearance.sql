{#-
  What a window counts once, however often it appears, is additive too: a thing enters a window when it appears
  and was not seen within W, and its last appearance leaves W later. So the running number of entries at t less the
  running number of exits at t - W is the number of different things in (t - W, t].
-#}

{#- What each family counts once: {name, key, column, description}. -#}
{% macro reappearing_things(family) %}
  {{ return({
    'user_activity': [
      {'name': 'item', 'key': 'item_id', 'column': 'distinct_items', 'description': 'Different known items'},
      {'name': 'category', 'key': 'category_id', 'column': 'distinct_categories', 'description': 'Different known categories'},
      {'name': 'day', 'key': 'cast(event_timestamp as date)', 'column': 'active_days', 'description': 'UTC days with an event'},
    ],
    'user_rhythm': [
      {'name': 'location', 'key': 'location', 'column': 'distinct_locations', 'description': 'Different known locations'},
    ],
    'item_activity': [
      {'name': 'user', 'key': 'user_id', 'column': 'item_distinct_users', 'description': 'Different users'},
    ],
  }[family]) }}
{% endmacro %}

{#-
  Two columns for each thing: how long ago it was seen, and after how long it returns, for the same owner.

  owner: the entity's key. position: the column that orders the owner's rows.
-#}
{% macro reappearance_distances(things, owner, position) %}
    {%- for thing in things %}
    case when {{ thing.key }} is not null then
        {{ epoch_us('event_timestamp') }} - {{ epoch_us('lag(event_timestamp) over (partition by ' ~ owner ~ ', ' ~ thing.key ~ ' order by ' ~ position ~ ')') }}
    end as {{ thing.name }}_seen_us_ago,
    case when {{ thing.key }} is not null then
        {{ epoch_us('lead(event_timestamp) over (partition by ' ~ owner ~ ', ' ~ thing.key ~ ' order by ' ~ position ~ ')') }} - {{ epoch_us('event_timestamp') }}
    end as {{ thing.name }}_returns_in_us{{ ',' if not loop.last }}
    {%- endfor %}
{% endmacro %}

{#-
  CTE `counted_totals`: running totals with the running entries and exits of a family's things for one scale.

  running_totals: unique by key and event_timestamp. appearances: rows with the distances above, each at an
  instant of running_totals. In an update, what lies before the reach of the window counts at its first instant. A
  stream's totals have counted them (see with_appearances).
-#}
{% macro totals_with_reappearance(running_totals, appearances, family, scale, key='user_id') %}
{%- if is_streaming() -%}
counted_totals as (
    select * from {{ running_totals }}
)
{%- else -%}
{%- set things = reappearing_things(family) -%}
{%- set width = duration_us(scale) -%}
{%- set update = is_update() -%}
{{ totals_in_reach(running_totals, scale, key) }}reappearance_steps as (
    select
        {{ key }},
        {{ 'greatest(event_timestamp, coalesce(base_at, event_timestamp)) as ' if update }}event_timestamp
        {%- for thing in things %}
        {%- set leaves -%}
          ({{ thing.key }} is not null and {{ thing.name }}_returns_in_us is null or {{ thing.name }}_returns_in_us >= {{ width }})
        {%- endset %},
        {%- set enters -%}
          ({{ thing.key }} is not null and {{ thing.name }}_seen_us_ago is null
            {%- if width is not none %} or {{ thing.name }}_seen_us_ago >= {{ width }}{% endif %})
        {%- endset %}
        {%- if update and width is not none %}
        count(*) filter (where event_timestamp >= coalesce(base_at, event_timestamp) and {{ enters }})
            -- What had entered before and not left: it returns in reach, within the window.
            + count(*) filter (where event_timestamp < base_at and {{ thing.name }}_returns_in_us < {{ width }}
                and event_timestamp + to_microseconds({{ thing.name }}_returns_in_us) >= base_at)
        {%- else %}
        count(*) filter (where {{ enters }})
        {%- endif %} as {{ thing.name }}_entries
        {%- if width is not none %},
        count(*) filter (where {{ 'event_timestamp >= coalesce(base_at, event_timestamp) and ' if update }}{{ leaves }}) as {{ thing.name }}_exits
        {%- endif %}
        {%- endfor %}
    from {{ appearances if update or key != 'user_id' else of_part(appearances) }}
    {%- if update %}
    join reach using ({{ key }})
    {%- if width is not none %}
    -- What is older has left before.
    where event_timestamp >= coalesce(base_at - to_microseconds({{ width }}), event_timestamp)
    {%- endif %}
    {%- endif %}
    group by all
),

reappearance_totals as (
    select
        {{ key }},
        event_timestamp
        {%- for thing in things %},
        cast(sum({{ thing.name }}_entries) over so_far as bigint) as {{ thing.name }}_entries
        {%- if width is not none %},
        cast(sum({{ thing.name }}_exits) over so_far as bigint) as {{ thing.name }}_exits
        {%- endif %}
        {%- endfor %}
    from reappearance_steps
    window so_far as (partition by {{ key }} order by event_timestamp rows unbounded preceding)
),

counted_totals as (
    select *
    from {{ totals_of(running_totals, key) }}
    join reappearance_totals using ({{ key }}, event_timestamp)
)
{%- endif %}
{% endmacro %}

{#- The number of different things in the window. -#}
{% macro window_distinct(thing, scale) %}
  {%- if is_streaming() -%}{{ return(window_difference(thing.name ~ '_last_seen', scale)) }}{%- endif -%}
  {{- return('now.' ~ thing.name ~ '_entries' ~ (' - coalesce(past.' ~ thing.name ~ '_exits, 0)' if scale != 'all' else '')) -}}
{% endmacro %}
