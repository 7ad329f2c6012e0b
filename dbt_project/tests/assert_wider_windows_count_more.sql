-- At every instant of any scale: 1h <= 1d <= 7d <= 30d <= 90d <= 365d <= all.
{%- set scales = ['1h', '1d', '7d', '30d', '90d', '365d', 'all'] %}
with instants as (
    {%- for scale in scales %}
    select user_id, event_timestamp from {{ ref('user_activity_' ~ scale) }}
    {{ 'union' if not loop.last }}
    {%- endfor %}
)
{%- for scale in scales %},

until_{{ scale }} as (
    select instants.*, counted.event_count_{{ scale }}
    from {{ asof_join('instants' if loop.first else 'until_' ~ scales[loop.index0 - 1], ref('user_activity_' ~ scale), ['instants', 'counted'], 'user_id', 'instants.event_timestamp') }}
)
{%- endfor %}

select user_id, event_timestamp
from until_{{ scales[-1] }}
where not (
    {%- for scale in scales[1:] %}
    event_count_{{ scales[loop.index0] }} <= event_count_{{ scale }}{{ ' and' if not loop.last }}
    {%- endfor %}
)
