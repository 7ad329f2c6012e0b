-- Hours and weekdays are two ways to split the same events, of which the dayparts hold all; all end at 0.
{%- for scale in ['7d', '30d', '90d', '365d', 'all'] %}
select user_id, event_timestamp
from (
    select
        *,
        {{ list_total('hour_histogram_' ~ scale, 'bigint') }} as event_count,
        lead(event_timestamp) over (partition by user_id order by event_timestamp) is null as is_last
    from {{ ref('user_rhythm_' ~ scale) }}
)
where {{ list_total('weekday_histogram_' ~ scale, 'bigint') }} <> event_count
    or round({{ list_total('daypart_shares_' ~ scale, 'double') }}, 9) <> least(event_count, 1)
    or (weekend_share_{{ scale }} is null) <> (event_count = 0)
    or distinct_locations_{{ scale }} > event_count
    or location_change_count_{{ scale }} > event_count
    {%- if scale != 'all' %}
    or is_last and event_count <> 0
    {%- endif %}
{{ 'union all' if not loop.last }}
{%- endfor %}
