-- Grain: one instant of the spine. Whether a conversion lies in (t, t + horizon]; null where the log ends sooner.
{%- set horizons = conversion_horizons() %}
{%- set widest = [] -%}
{%- for horizon in horizons -%}{%- do widest.append(duration_us(horizon)) -%}{%- endfor -%}
{{ config(meta={'update_by': 'user', 'reach_us': widest | max if widest else 0, 'log_end_us': widest | max if widest else 0}) }}
{%- for horizon in horizons -%}
  {%- do declare_columns([column('converted_within_' ~ horizon, 'boolean', 'Whether the user converts within ' ~ horizon ~ ' after the instant; null where the log ends sooner.')]) -%}
{%- endfor %}

with log_end as (
    select max(event_timestamp) as log_end from {{ ref('int_events') }}
)

select
    spine.user_id,
    spine.event_timestamp
    {%- for horizon in horizons %},
    case
        when spine.event_timestamp + to_microseconds({{ duration_us(horizon) }}) <= log_end
            then at_{{ horizon }}.conversions > now.conversions
    end as converted_within_{{ horizon }}
    {%- endfor %}
from {{ touched_instants(ref('spine')) }} as spine
cross join log_end
asof join {{ ref('int_user_totals') }} as now
    on spine.user_id = now.user_id and spine.event_timestamp >= now.event_timestamp
{%- for horizon in horizons %}
asof join {{ ref('int_user_totals') }} as at_{{ horizon }}
    on spine.user_id = at_{{ horizon }}.user_id
    and spine.event_timestamp + to_microseconds({{ duration_us(horizon) }}) >= at_{{ horizon }}.event_timestamp
{%- endfor %}
