-- Grain: one item with a text: the first that the log has of it, which is what was known when it was first seen.
{{ config(enabled=setting('item_text') is not none, materialized='table') }}

with texts as (
    select
        item_id,
        event_timestamp,
        item_text,
        row_number() over (partition by item_id order by event_timestamp, file_position) as place
    from {{ ref('base_events__judged') }}
    where verdict = 'accepted' and item_id is not null and item_text is not null
)

select item_id, event_timestamp, item_text
from texts
where place = 1
