-- Grain: one accepted event.
{{ config(meta={'dataset_vars': dataset_vars()}) }}

select
    event_id,
    user_id,
    action_type,
    {{ action_index('action_type') }} as action_index,
    event_timestamp,
    ingested_at,
    item_id,
    category_id,
    location,
    case when raw_duration_ms between 0 and {{ longest_duration_ms() }} then raw_duration_ms end as duration_ms,
    {%- for name in measures() %}
    {{ measure_column(name) }},
    {%- endfor %}
    {%- for tie in tie_order() if tie.column != 'file_position' %}
    {{ tie.name }},
    {%- endfor %}
    file_position
from {{ ref('base_events__judged') }}
where verdict = 'accepted'
