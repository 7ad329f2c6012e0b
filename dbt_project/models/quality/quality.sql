-- Grain: one measure of the log's quality, and one of its keys where it has several values.
{%- set mapped = [] -%}
{%- for name in setting('columns') -%}
  {%- do mapped.append([name, {'action_type': 'raw_action_type', 'duration_ms': 'raw_duration_ms'}.get(name, name)]) -%}
{%- endfor -%}
{%- for name in measures() -%}
  {%- do mapped.append([name, measure_column(name)]) -%}
{%- endfor %}

with accounting as (
    select verdict, reason, event_count
    from {{ ref('event_accounting') }}
),

events as (
    select user_id, action_index, event_timestamp, ingested_at
    from {{ ref('stg_events') }}
),

-- One row whatever the log holds.
totals as (
    select
        count(*) as event_count,
        count(distinct user_id) as user_count,
        min(event_timestamp) as first_event_at,
        max(event_timestamp) as last_event_at
    from events
),

{% if 'ingested_at' in setting('columns') -%}
-- Late is an event that arrived after a later event of its user had: what readers saw of him until then was not all.
arrivals as (
    select
        user_id,
        ingested_at,
        max(event_timestamp) as latest
    from events
    group by user_id, ingested_at
),

known_before as (
    select
        user_id,
        ingested_at,
        max(latest) over (
            partition by user_id order by ingested_at rows between unbounded preceding and 1 preceding
        ) as latest_before
    from arrivals
),

arrival as (
    select
        count(*) filter (where event_timestamp < latest_before) as late_count,
        {{ quantiles('(' ~ epoch_us('ingested_at') ~ ' - ' ~ epoch_us('event_timestamp') ~ ') / 1e6', [0.5, 0.9, 0.99, 1.0]) }} as lag_seconds
    from events
    join known_before using (user_id, ingested_at)
),
{%- else -%}
-- The log does not say when a row arrived.
arrival as (
    select cast(null as bigint) as late_count, cast(null as {{ engine_type('double[]') }}) as lag_seconds
),
{%- endif %}

ties as (
    select coalesce(sum(events_of_instant) filter (where events_of_instant > 1), 0) as tied_count
    from (select count(*) as events_of_instant from events group by user_id, event_timestamp)
),

actions as (
    select action_index, count(*) as action_count
    from events
    group by action_index
),

-- Of the whole log, rejects included: null is what the row leaves out, and what cannot be read as what it should be.
nulls as (
    select
        count(*) as row_count
        {%- for _, source in mapped %},
        count(*) - count({{ source }}) as null_count_{{ loop.index }}
        {%- endfor %}
    from {{ ref('base_events') }}
),

-- Events outside the taxonomy, rejected or made another action, by UTC day: a new kind of event begins on some day.
unknown_actions as (
    select cast(cast(event_timestamp as date) as string) as utc_day, count(*) as event_count
    from {{ ref('base_events__judged') }}
    where verdict = 'unknown_action' or (verdict = 'accepted' and not {{ is_known_action('raw_action_type') }})
    group by utc_day
),

measured (measure, key, value) as (
    {%- for verdict, measure in {'raw': 'raw_rows', 'accepted': 'accepted_rows', 'duplicates': 'duplicate_rows'}.items() %}
    select '{{ measure }}', '', coalesce(sum(event_count) filter (where verdict = '{{ verdict }}'), 0) from accounting
    union all
    {%- endfor %}
    select 'rejected_rows', reason, event_count from accounting where verdict = 'rejected'
    union all
    select 'unknown_action_rows', utc_day, event_count from unknown_actions
    union all
    select 'user_count', '', user_count from totals
    union all
    -- Seconds since 1970: every value is a number.
    select 'first_event_at', '', {{ epoch_us('first_event_at') }} / 1e6 from totals
    union all
    select 'last_event_at', '', {{ epoch_us('last_event_at') }} / 1e6 from totals
    union all
    select 'span_days', '', ({{ epoch_us('last_event_at') }} - {{ epoch_us('first_event_at') }}) / 86400e6 from totals
    union all
    select 'late_share', '', late_count / nullif(event_count, 0) from arrival, totals
    {%- for quantile in ['p50', 'p90', 'p99', 'max'] %}
    union all
    select 'lag_seconds', '{{ quantile }}', {{ list_at('lag_seconds', loop.index) }} from arrival
    {%- endfor %}
    union all
    select 'ties_share', '', tied_count / nullif(event_count, 0) from ties, totals
    {%- for action in actions() %}
    union all
    select 'action_share', {{ text(action) }}, coalesce(action_count, 0) / nullif(event_count, 0)
    from totals left join actions on action_index = {{ loop.index0 }}
    {%- endfor %}
    {%- for name, _ in mapped %}
    union all
    select 'null_share', {{ text(name) }}, null_count_{{ loop.index }} / nullif(row_count, 0) from nulls
    {%- endfor %}
)

select
    measure,
    key,
    cast(value as double) as value
from measured
