-- Grain: one row of the log. Nothing is left out here but what was not known yet at `known_at`.
with raw_events as (
    {{ raw_events() }}
)

select *
from raw_events
{% if known_at() -%}
where coalesce(ingested_at, event_timestamp) <= {{ known_at() }}
    or coalesce(ingested_at, event_timestamp) is null
{%- endif %}
