-- After a user's last expiry every count and sum is exactly 0.
{%- for scale in ['1h', '1d', '7d', '30d', '90d', '365d'] %}
select user_id, event_timestamp
from (
    select *
    from {{ ref('user_activity_' ~ scale) }}
    qualify row_number() over (partition by user_id order by event_timestamp desc) = 1
)
where event_count_{{ scale }} <> 0 or duration_ms_sum_{{ scale }} <> 0 or distinct_items_{{ scale }} <> 0
    or distinct_categories_{{ scale }} <> 0 or active_days_{{ scale }} <> 0 or session_count_{{ scale }} <> 0
    or gap_ms_mean_{{ scale }} is not null
{{ 'union all' if not loop.last }}
{%- endfor %}
