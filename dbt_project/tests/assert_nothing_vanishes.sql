-- raw = accepted + duplicates + rejected, in the table that is reported and in the models themselves.
with counted as (
    select
        coalesce(sum(event_count) filter (where verdict = 'raw'), 0) as raw,
        coalesce(sum(event_count) filter (where verdict in ('accepted', 'duplicates', 'rejected')), 0) as judged
    from {{ ref('event_accounting') }}
)

select *
from counted
where raw <> judged
    or raw <> (select count(*) from {{ ref('base_events') }})
    or judged - (select count(*) from {{ ref('stg_events') }}) - (select count(*) from {{ ref('stg_events__rejected') }})
        <> (select count(*) from {{ ref('base_events__judged') }} where verdict = 'duplicate')
