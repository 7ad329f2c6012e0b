-- Grain: one user or item whose accepted events a reading of the log changed, by the reading's version.
-- depends_on: {{ ref('stg_events') }}
{{ config(materialized='change_log') }}

{%- if has_fingerprints_before() %}
with differing as (
    select
        was.user_id as user_id_before,
        was.item_id as item_id_before,
        was.event_timestamp as event_timestamp_before,
        now.user_id,
        now.item_id,
        now.event_timestamp
    from state.event_fingerprints as was
    full join reading as now using (event_id)
    where was.content is distinct from now.content
),

-- An event that changed touches whom it was of, when it was, and whom it is of now, from now on.
touched as (
    select user_id_before as user_id, item_id_before as item_id, event_timestamp_before as event_timestamp
    from differing
    where user_id_before is not null
    union all
    select user_id, item_id, event_timestamp
    from differing
    where user_id is not null
)

select 'user' as entity, user_id as key, min(event_timestamp) as touched_from
from touched
group by user_id
union all
-- An item's values change at the ends of hours.
select 'item', item_id, min({{ end_of_hour('event_timestamp') }})
from touched
where item_id is not null
group by item_id
{%- else %}
-- Nothing to compare with: every model is made whole.
select 'user' as entity, user_id as key, event_timestamp as touched_from
from {{ ref('stg_events') }}
where false
{%- endif %}
