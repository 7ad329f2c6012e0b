-- Grain: one release of one closed UTC day of the population, and what was spent up to and including it.
-- depends_on: {{ ref('int_events') }}
-- depends_on: {{ ref('int_states') }}
{{ config(materialized='private_release', enabled=setting('privacy') is not none) }}

select
    event_timestamp,
    release,
    mechanism,
    max_events,
    epsilon,
    delta,
    released_at,
    -- Of one user, over all days: the losses of releases that hold the same user add up.
    sum(epsilon) over so_far as epsilon_spent,
    sum(delta) over so_far as delta_spent
from state.privacy_ledger
window so_far as (order by event_timestamp, release rows unbounded preceding)
order by event_timestamp, release
