-- Grain: one user whom the bot rule quarantines. No rows where the dataset file has no `bots`.
{{ config(post_hook="{{ report_quarantine() }}") }}

with of_bots as (
    select user_id, event_timestamp
    from {{ ref('base_events__judged') }}
    where verdict = 'bot'
),

hours as (
    {{ events_per_hour('of_bots') }}
)

select
    user_id,
    cast(sum(events_at_instant) as bigint) as event_count,
    max(events_in_hour) as peak_events_per_hour,
    min_by(event_timestamp, (-events_in_hour, event_timestamp)) as peak_at,
    min(event_timestamp) filter (where events_in_hour > {{ bot_limit() or 0 }}) as exceeded_at
from hours
group by user_id
