-- Grain: one row of the log, each with its verdict: accepted, duplicate or rejected.
with mapped as (
    select
        *,
        {#- An event without an id of its own is the whole row. -#}
        coalesce(event_id, row_hash) as known_id,
        coalesce(ingested_at, event_timestamp) as known_from,
        {{ mapped_action('raw_action_type') }} as action_type
    from {{ ref('base_events') }}
),

arrivals as (
    select
        *,
        -- The one that arrived first wins; rows that arrived together, by their place in the file.
        row_number() over (partition by known_id order by known_from nulls last, file_position) as arrival
    from mapped
),

judged as (
    select
        {{ all_but(['event_id', 'ingested_at', 'known_id', 'known_from', 'arrival']) }},
        known_id as event_id,
        known_from as ingested_at,
        case
            when row_hash like 'forgotten %' then 'forgotten'
            when arrival > 1 then 'duplicate'
            when user_id is null then 'null_user'
            when event_timestamp is null then 'bad_timestamp'
            when event_timestamp > {{ build_clock() }} + interval 1 day then 'future_timestamp'
            when action_type is null then 'unknown_action'
            else 'accepted'
        end as verdict
    from arrivals
)
{%- if bot_limit() is none %}

select * from judged
{%- else %},

-- What is left are events: a user with too many of them in one hour is a bot, and none of them counts.
bots as (
    {{ users_above('judged', bot_limit()) }}
)

select
    {{ all_but(['verdict'], 'judged') }},
    case when bots.user_id is not null and verdict = 'accepted' then 'bot' else verdict end as verdict
from judged
left join bots on judged.user_id = bots.user_id
{%- endif %}
