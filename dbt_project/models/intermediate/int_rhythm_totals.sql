-- Grain: one instant of one user. Running totals of his events by UTC hour and by weekday, up to and including it.
{{ config(meta={'update_by': 'user', 'update_rows': 'tail'}) }}

with increments as (
    select
        user_id,
        {{ 'windows_left, max(event_timestamp) as ' if is_streaming() }}event_timestamp,
        count(*) as event_count,
        count(*) filter (where changes_location) as location_change_count,
        {{- packed_increments('hours', 24, 'hour(event_timestamp)') }},
        -- Monday first.
        {{- packed_increments('weekdays', 7, iso_weekday('event_timestamp')) }}
    from {{ touched_instants(ref('int_events')) }}
    group by user_id, {{ 'windows_left' if is_streaming() else 'event_timestamp' }}
)
{%- if is_streaming() %}

{{ running_totals(with_appearances('increments', 'user_rhythm', ref('int_events')), rhythm_measures() + appearance_measures('user_rhythm')) | trim }}
{%- else %}

{{ running_totals('increments', rhythm_measures()) | trim }}
{%- endif %}
