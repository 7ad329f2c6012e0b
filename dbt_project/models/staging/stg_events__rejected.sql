-- Grain: one row of the log that is no event, with the reason.
select
    file_position,
    verdict as reason,
    event_id,
    user_id,
    raw_action_type,
    raw_event_timestamp,
    ingested_at
from {{ ref('base_events__judged') }}
where verdict not in ('accepted', 'duplicate')
