-- An item's actions sum to its events, which have at least as many as its different users, and all end at 0.
{%- for scale in ['1h', '1d', '7d', '30d', '90d', '365d', 'all'] %}
select item_id, event_timestamp
from (
    select *, lead(event_timestamp) over (partition by item_id order by event_timestamp) is null as is_last
    from {{ ref('item_activity_' ~ scale) }}
)
where {% for action in actions() %}item_{{ action }}_count_{{ scale }} + {% endfor %}0 <> item_event_count_{{ scale }}
    or item_distinct_users_{{ scale }} not between least(item_event_count_{{ scale }}, 1) and item_event_count_{{ scale }}
    {%- if scale != 'all' %}
    or is_last and item_event_count_{{ scale }} <> 0
    {%- endif %}
{{ 'union all' if not loop.last }}
{%- endfor %}
