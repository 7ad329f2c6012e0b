-- At every instant of any scale: 1h <= 1d <= 7d <= 30d <= 90d <= 365d <= all.
{%- set scales = ['1h', '1d', '7d', '30d', '90d', '365d', 'all'] %}
with instants as (
    {%- for scale in scales %}
    select user_id, event_timestamp from {{ ref('user_activity_' ~ scale) }}
    {{ 'union' if not loop.last }}
    {%- endfor %}
)

select instants.*
from instants
{%- for scale in scales %}
asof join {{ ref('user_activity_' ~ scale) }} as scale_{{ scale }}
    on instants.user_id = scale_{{ scale }}.user_id and instants.event_timestamp >= scale_{{ scale }}.event_timestamp
{%- endfor %}
where not (
    {%- for scale in scales[1:] %}
    scale_{{ scales[loop.index0] }}.event_count_{{ scales[loop.index0] }} <= scale_{{ scale }}.event_count_{{ scale }}{{ ' and' if not loop.last }}
    {%- endfor %}
)
