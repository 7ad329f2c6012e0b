-- Grain: one instant of one user with an event.
{{ config(meta={'family': 'user_recency', 'update_by': 'user'}) }}

{%- set last_known_names = ['item_id', 'category_id', 'location'] %}
{%- if is_streaming() %}
-- Only the last row of each user is asked for.
with known as (
    select
        user_id,
        max(event_timestamp) as event_timestamp,
        true as ends_instant,
        max_by(action_type, event_position) as last_action_type,
        max(event_timestamp) as last_action_at,
        {%- for name in last_known_names %}
        {{ last_known(name, 'event_position') }} as last_{{ name }},
        max(event_timestamp) filter (where {{ name }} is not null) as last_{{ name | replace('_id', '') }}_at,
        {%- endfor %}
        list(item_id) filter (where events_after < 7) as last_7_items,
        -- The latest first.
        max_by(event_gap_ms, event_position, 7) filter (where starts_instant and event_gap_ms is not null) as last_gaps
    from {{ ref('int_events') }}
    group by user_id
),

gaps as (
    select
        user_id,
        event_timestamp
        {%- for k in [1, 3, 5, 7] %}
        {%- set last_k = list_part('last_gaps', '0', k) %},
        {{ list_length(last_k) }} as gap_count_{{ k }},
        {{ list_total(last_k, wide_integer()) }} as gap_ms_sum_{{ k }},
        {{ list_total(list_each(last_k, 'gap', 'cast(gap as ' ~ wide_integer() ~ ') * gap'), wide_integer()) }} as gap_ms_square_sum_{{ k }}
        {%- endfor %}
    from known
)
{%- else %}
{%- if is_update() %}
-- The events that the rows from the first touched instant on can see: the six before it, and those that were known last.
with log as (
    select events.*
    from {{ ref('int_events') }} as events
    join (
        select
            user_id,
            min(event_position) filter (where event_timestamp >= touched_from) as first_position
            {%- for name in last_known_names %},
            max(event_position) filter (where event_timestamp < touched_from and {{ name }} is not null) as {{ name }}_at
            {%- endfor %}
        from {{ of_touched(ref('int_events')) }}
        group by user_id
    ) as touched
        on events.user_id = touched.user_id
        and (
            events.event_position >= touched.first_position - 6
            {%- for name in last_known_names %} or events.event_position = touched.{{ name }}_at{% endfor %}
        )
),

instants as (
    select totals.*
    from {{ ref('int_user_totals') }} as totals
    join (
        select
            user_id,
            coalesce(list_min(max(event_timestamp, 6) filter (where event_timestamp < touched_from)), min(touched_from)) as first_at
        from {{ of_touched(ref('int_user_totals')) }}
        group by user_id
    ) as touched
        on totals.user_id = touched.user_id and totals.event_timestamp >= touched.first_at
),

known as (
{%- else %}
with known as (
{%- endif %}
    select
        user_id,
        event_timestamp,
        ends_instant,
        action_type as last_action_type,
        event_timestamp as last_action_at,
        {%- for name in last_known_names %}
        {{ last_known(name, 'event_position') }} over so_far as last_{{ name }},
        max(case when {{ name }} is not null then event_timestamp end) over so_far
            as last_{{ name | replace('_id', '') }}_at,
        {%- endfor %}
        array_agg(item_id) over (
            partition by user_id order by event_position rows between 6 preceding and current row
        ) as last_7_items
    from {{ 'log' if is_update() else of_part(ref('int_events')) }}
    window so_far as (partition by user_id order by event_position rows unbounded preceding)
),

gaps as (
    select
        user_id,
        event_timestamp
        {%- for k in [1, 3, 5, 7] %},
        count(gap_ms) over last_{{ k }} as gap_count_{{ k }},
        sum(gap_ms) over last_{{ k }} as gap_ms_sum_{{ k }},
        sum(cast(gap_ms as {{ wide_integer() }}) * gap_ms) over last_{{ k }} as gap_ms_square_sum_{{ k }}
        {%- endfor %}
    from {{ 'instants' if is_update() else of_part(ref('int_user_totals')) }}
    window
        {%- for k in [1, 3, 5, 7] %}
        last_{{ k }} as (
            partition by user_id order by event_timestamp rows between {{ k - 1 }} preceding and current row
        ){{ ',' if not loop.last }}
        {%- endfor %}
)
{%- endif %}

select
    user_id,
    event_timestamp,
    last_action_type,
    last_action_at,
    last_item_id,
    last_item_at,
    last_category_id,
    last_category_at,
    last_location,
    last_location_at,
    {%- for k in [1, 3, 5, 7] %}
    {{ mean('gap_ms_sum_' ~ k, 'gap_count_' ~ k) }} as gap_ms_mean_last_{{ k }},
    {{ deviation('gap_count_' ~ k, 'gap_ms_sum_' ~ k, 'gap_ms_square_sum_' ~ k) }} as gap_ms_std_last_{{ k }},
    {%- endfor %}
    -- Known items of the last 7 events, less the different ones among them.
    cast({{ list_repeats('last_7_items') }} as bigint)
        as item_repeat_count_last_7,
    {{ computed_at() }} as computed_at
from {{ touched_instants('known') }}
join gaps using (user_id, event_timestamp)
where ends_instant
