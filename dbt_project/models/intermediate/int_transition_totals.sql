-- Grain: one instant of one user's state sequence. Running counts of each transition, and the state now.
{%- set cells = (states() | length) ** 2 %}
with running as (
    select
        user_id,
        event_timestamp,
        state_index,
        ends_instant
        {%- for cell in range(cells) %},
        cast(sum(case when transition = {{ cell }} then 1 else 0 end) over so_far as bigint) as transition_{{ cell }}
        {%- endfor %}
    from {{ ref('int_states') }}
    window so_far as (partition by user_id order by event_position, is_leave rows unbounded preceding)
)

select * exclude (ends_instant)
from running
where ends_instant
