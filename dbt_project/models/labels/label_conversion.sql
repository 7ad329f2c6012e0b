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
),

conversions as (
    select user_id, event_timestamp, conversions from {{ ref('int_user_totals') }}
),

at_now as (
    select instants.user_id, instants.event_timestamp, now.conversions as until_now
    from {{ asof_join(touched_instants(ref('spine')), 'conversions', ['instants', 'now'], 'user_id', 'instants.event_timestamp') }}
)
{%- for horizon in horizons %},

at_{{ horizon }} as (
    select instants.*, later.conversions as until_{{ horizon }}
    from {{ asof_join('at_' ~ (horizons[loop.index0 - 1] if loop.index0 else 'now'), 'conversions', ['instants', 'later'], 'user_id', add_us('instants.event_timestamp', duration_us(horizon))) }}
)
{%- endfor %}

select
    instants.user_id,
    instants.event_timestamp
    {%- for horizon in horizons %},
    case
        when {{ add_us('instants.event_timestamp', duration_us(horizon)) }} <= log_end
            then until_{{ horizon }} > until_now
    end as converted_within_{{ horizon }}
    {%- endfor %}
from at_{{ horizons[-1] if horizons else 'now' }} as instants
cross join log_end
