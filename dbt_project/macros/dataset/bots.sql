{#-
  The bot rule: more than `bots.events_per_hour` events of one user in some hour. An hour is any window
  (t - 1h, t], not one of the clock: a robot does not wait for the clock.
-#}

{#- The declared limit; none where the rule is off. -#}
{% macro bot_limit() %}
  {{ return(mapping_setting('bots').get('events_per_hour')) }}
{% endmacro %}

{#- Users of whom some hour holds more than `limit` accepted events: the event `limit` places earlier is less than 1 h old. -#}
{% macro users_above(judged, limit) -%}
    select distinct user_id
    from {{ judged }}
    where verdict = 'accepted'
    qualify event_timestamp - interval 1 hour < lag(event_timestamp, {{ limit }}) over (partition by user_id order by event_timestamp)
{%- endmacro %}

{#- For each user and instant with events: how many lie at it, and how many in the hour that ends with it. -#}
{% macro events_per_hour(events) -%}
    with instants as (
        select user_id, event_timestamp, count(*) as events_at_instant
        from {{ events }}
        group by user_id, event_timestamp
    ),

    running as (
        select
            *,
            sum(events_at_instant) over (partition by user_id order by event_timestamp rows unbounded preceding) as events_so_far
        from instants
    )

    select
        now.user_id,
        now.event_timestamp,
        cast(now.events_at_instant as bigint) as events_at_instant,
        -- The event at t - 1h is out.
        cast(now.events_so_far - coalesce(before.events_so_far, 0) as bigint) as events_in_hour
    from {{ asof_join('running', 'running', ['now', 'before'], 'user_id', 'now.event_timestamp - interval 1 hour', outer=true) }}
{%- endmacro %}

{#- Say who was quarantined: the rule takes whole users away, so it never does that silently. -#}
{% macro report_quarantine() %}
  {%- if execute and not flags.EMPTY and flags.WHICH in ['build', 'run'] and bot_limit() is not none -%}
    {%- set found = run_query('select count(*), coalesce(sum(event_count), 0), coalesce(max(peak_events_per_hour), 0) from ' ~ this).rows[0] -%}
    {%- do log('scalespace: ' ~ setting('dataset') ~ ': ' ~ found[0] ~ ' users with more than ' ~ bot_limit()
        ~ ' events in an hour are quarantined with all their ' ~ found[1] ~ ' events; the most in an hour are ' ~ found[2]
        ~ '; the table stg_users__quarantined names them', info=true) -%}
  {%- endif -%}
{% endmacro %}
