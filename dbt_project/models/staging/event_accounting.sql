-- Grain: one verdict and reason. raw = accepted + duplicates + rejected.
{{ config(post_hook="{{ check_accepted() }}") }}

with judged as (
    select
        case verdict when 'accepted' then 'accepted' when 'duplicate' then 'duplicates' else 'rejected' end as verdict,
        case when verdict in ('accepted', 'duplicate') then '' else verdict end as reason
    from {{ ref('base_events__judged') }}
)

select 'raw' as verdict, '' as reason, count(*) as event_count from {{ ref('base_events') }}
union all
select verdict, reason, count(*) from judged group by verdict, reason
union all
-- Not a verdict: accepted, with the impossible value made null.
select 'changed', 'negative durations made null', count(*)
from {{ ref('base_events__judged') }} where verdict = 'accepted' and raw_duration_ms < 0
having count(*) > 0
union all
select 'changed', 'durations of more than 34 years made null', count(*)
from {{ ref('base_events__judged') }} where verdict = 'accepted' and raw_duration_ms > {{ longest_duration_ms() }}
having count(*) > 0
