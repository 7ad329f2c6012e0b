-- Grain: one instant of one user. Running totals of his events by UTC hour and by weekday, up to and including it.
{#- Four counters share a sum, 31 bits each: a running sum costs the same whatever it holds, and 31 of them cost up to
    three times as much as the 8 that are left. No counter of a user reaches 2 ** 31, so none runs into its neighbour. #}
{%- set bits = 31 %}
with per_instant as (
    -- All events of an instant share its hour and weekday.
    select
        user_id,
        event_timestamp,
        hour(event_timestamp) as hour,
        isodow(event_timestamp) - 1 as weekday,
        count(*) as event_count,
        count(*) filter (where changes_location) as location_change_count
    from {{ ref('int_events') }}
    group by user_id, event_timestamp
),

packed as (
    select
        user_id,
        event_timestamp,
        cast(sum(event_count) over so_far as bigint) as event_count,
        cast(sum(location_change_count) over so_far as bigint) as location_change_count
        {%- for part, counters in {'hour': 24, 'weekday': 7}.items() %}
        {%- for first in range(0, counters, 4) %},
        sum(
            case when {{ part }} between {{ first }} and {{ first + 3 }}
                then cast(event_count as hugeint) << ({{ bits }} * ({{ part }} - {{ first }})) else 0 end
        ) over so_far as {{ part }}_{{ first }}_on
        {%- endfor %}
        {%- endfor %}
    from per_instant
    window so_far as (partition by user_id order by event_timestamp rows unbounded preceding)
)

select
    user_id,
    event_timestamp,
    event_count,
    location_change_count
    {%- for name in rhythm_hours() %},
    cast((hour_{{ loop.index0 // 4 * 4 }}_on >> {{ bits * (loop.index0 % 4) }}) & {{ 2 ** bits - 1 }} as integer) as {{ name }}
    {%- endfor %}
    {%- for name in rhythm_weekdays() %},
    cast((weekday_{{ loop.index0 // 4 * 4 }}_on >> {{ bits * (loop.index0 % 4) }}) & {{ 2 ** bits - 1 }} as integer) as {{ name }}
    {%- endfor %}
from packed
