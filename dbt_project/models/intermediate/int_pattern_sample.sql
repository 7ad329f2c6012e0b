-- Grain: one user and UTC day of the training part, by the last instant of the day at which his activity changed.
{%- set scale = pattern_scale() %}
with active as (
    select *
    from {{ ref('user_activity_' ~ scale) }}
    where event_count_{{ scale }} > 0 and event_timestamp <= {{ train_end() }}
),

days as (
    select *
    from active
    qualify row_number() over (
        partition by user_id, cast(event_timestamp as date) order by event_timestamp desc
    ) = 1
)

select
    user_id,
    event_timestamp
    {%- for feature in pattern_features(scale) %},
    {{ feature.sql }} as {{ identifier(feature.name) }}
    {%- endfor %}
from days
-- Enough to find a handful of patterns; which rows are left out depends on nothing but the rows.
order by md5(user_id || ' ' || cast(event_timestamp as string)), user_id, event_timestamp
limit 20000
