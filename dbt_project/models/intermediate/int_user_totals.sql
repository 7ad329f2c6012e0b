-- Grain: one instant of one user. Running totals from the user's first event up to and including this instant.
{{ config(meta={'update_by': 'user', 'update_rows': 'tail'}) }}

{%- if is_streaming() %}

-- Of the events between two bounds of windows: the instant of the last, and their sums.
with increments as (
    select
        user_id,
        windows_left,
        max(event_timestamp) as event_timestamp
        {%- for measure in event_measures() %},
        {{ measure.increment }} as {{ measure.name }}
        {%- endfor %}
        {%- for measure in instant_measures() %},
        sum({{ measure.increment }}) as {{ measure.name }}
        {%- endfor %}
    from (select *, case when starts_instant then event_gap_ms end as gap_ms from {{ ref('int_events') }})
    group by user_id, windows_left
)

{{ running_totals(with_appearances('increments', 'user_activity', ref('int_events')), event_measures() + instant_measures() + appearance_measures('user_activity')) | trim }}
{%- else %}

with per_instant as (
    select
        user_id,
        event_timestamp,
        max(event_position) as event_position,
        -- From the instant before to this one: the gap of its first event; the others have 0, the user's first has none.
        case when count(*) = count(event_gap_ms) then max(event_gap_ms) end as gap_ms
        {%- for measure in event_measures() %},
        {{ measure.increment }} as {{ measure.name }}
        {%- endfor %}
    from {{ touched_instants(ref('int_events')) }}
    group by user_id, event_timestamp
),

increments as (
    select
        *
        {%- for measure in instant_measures() %},
        {{ measure.increment }} as {{ measure.name }}
        {%- endfor %}
    from per_instant
)

{{ running_totals('increments', event_measures() + instant_measures(), kept=['event_position', 'gap_ms']) | trim }}
{%- endif %}
