{#-
  The materialization of privacy_ledger: releases the closed days that were not released yet, and enters what they cost.

  Counts and cost are written in one transaction, and neither is ever written again: a day has one noise, whatever is
  built, tested or published afterwards. A release that would overspend the budget is refused before a number is drawn.
-#}
{% materialization private_release, adapter='duckdb' %}
  {{ run_hooks(pre_hooks, inside_transaction=False) }}
  {{ run_hooks(pre_hooks, inside_transaction=True) }}
  {%- set given = privacy() -%}
  {%- do create_release_tables() -%}
  {%- do check_taxonomy() -%}
  {%- set due = [] if flags.EMPTY else run_query(due_days()).columns[0].values() | list -%}
  {%- do check_budget(due) -%}
  {% call statement('main') -%}
    create or replace temporary table due_days as {{ due_days() }};
    {%- if due %}
    insert into state.released_transitions {{ transitions_of_due_days() }};
    {%- if releases_items() %}
    insert into state.released_items {{ items_of_due_days() }};
    {%- endif %}
    insert into state.privacy_ledger
    select event_timestamp, release, epsilon, delta, {{ given.events }}, 'discrete Laplace', {{ build_clock() }}, {{ text(states() | join(' ')) }}
    from due_days, (values
        ('action_transitions', {{ epsilon_of('action_transitions') }}, 0.0)
        {%- if releases_items() %},
        ('item_activity', {{ given.epsilon - epsilon_of('action_transitions') }}, {{ 0 if given['items'] else given.delta }})
        {%- endif %}
    ) as costs (release, epsilon, delta);
    {%- endif %}
    drop table due_days;
    create or replace table {{ this }} as {{ compiled_code }}
  {%- endcall %}
  {%- do note_applied(update_scope()) -%}

  {{ run_hooks(post_hooks, inside_transaction=True) }}
  {{ adapter.commit() }}
  {{ run_hooks(post_hooks, inside_transaction=False) }}
  {%- if due -%}
    {%- do log('scalespace: ' ~ setting('dataset') ~ ': ' ~ due | length ~ ' days of the population were released with noise; '
        ~ 'epsilon ' ~ run_query('select round(sum(epsilon), 6) from state.privacy_ledger').rows[0][0] ~ ' of ' ~ given.budget ~ ' is spent', info=true) -%}
  {%- endif -%}
  {{ return({'relations': [this.incorporate(type='table')]}) }}
{% endmaterialization %}

{#- They only grow: neither --full-refresh nor another dataset file takes back what was told. -#}
{% macro create_release_tables() %}
  {%- do run_query('create schema if not exists state') -%}
  {%- do run_query('create table if not exists state.privacy_ledger (event_timestamp timestamp, release varchar, epsilon double, delta double, max_events bigint, mechanism varchar, released_at timestamp, states varchar)') -%}
  {%- do run_query('create table if not exists state.released_transitions (event_timestamp timestamp, transition bigint, transition_count bigint)') -%}
  {%- do run_query('create table if not exists state.released_items (event_timestamp timestamp, item_id varchar, action_index bigint, event_count bigint)') -%}
{% endmacro %}

{#- Ends of the UTC days that the log goes beyond and that were not released. A day without an event is one too. -#}
{% macro due_days() %}
    with log as (
        select min(event_timestamp) as first_at, max(event_timestamp) as last_at
        from {{ ref('int_events') }}
    ),

    days as (
        select unnest(generate_series({{ end_of_day(first_day_to_release()) }}, last_at, interval 1 day)) as event_timestamp
        from log
    )

    select event_timestamp
    from days
    where event_timestamp not in (select event_timestamp from state.privacy_ledger)
    order by event_timestamp
{% endmacro %}

{% macro first_day_to_release() %}
  {%- set since = privacy().since -%}
  {{ return('first_at' if not since else "greatest(first_at, timezone('UTC', timestamptz " ~ text(since) ~ '))') }}
{% endmacro %}

{#- A released cell is told by its place in the matrix. -#}
{% macro check_taxonomy() %}
  {%- for row in run_query('select distinct states from state.privacy_ledger').rows if row[0] != states() | join(' ') -%}
    {{ bad_input('dataset ' ~ setting('dataset') ~ ': days were released of the states ' ~ row[0] ~ ', and the dataset file now has ' ~ states() | join(' ') ~ ': put the actions back; another taxonomy needs a home, and a budget, of its own') }}
  {%- endfor -%}
{% endmacro %}

{% macro check_budget(due) %}
  {%- set given = privacy() -%}
  {%- set spent = run_query('select coalesce(sum(epsilon), 0) from state.privacy_ledger').rows[0][0] | float -%}
  {%- set cost = due | length * given.epsilon -%}
  {%- if due and spent + cost > given.budget * (1 + 1e-9) -%}
    {%- set affordable = (((given.budget - spent) / given.epsilon + 1e-9) | int) -%}
    {{ bad_input('dataset ' ~ setting('dataset') ~ ': ' ~ due | length ~ ' days from ' ~ due[0].strftime('%Y-%m-%d') ~ ' on would cost epsilon ' ~ '%.6g' % cost
        ~ ', but of privacy.budget ' ~ given.budget ~ ' only ' ~ '%.6g' % ([given.budget - spent, 0] | max) ~ ' is left, for ' ~ [affordable, 0] | max
        ~ ' days: nothing was released; begin later (privacy.since), take less epsilon_per_day or a larger budget') }}
  {%- endif -%}
{% endmacro %}

{#- Every cell of the matrix has noise, also an empty one: that a cell is there tells nothing. -#}
{% macro transitions_of_due_days() %}
    with bounded as (
        select {{ end_of_day('event_timestamp') }} as event_timestamp, transition
        from {{ ref('int_states') }}
        where transition is not null and {{ end_of_day('event_timestamp') }} in (select event_timestamp from due_days)
        qualify row_number() over (
            partition by user_id, {{ end_of_day('event_timestamp') }} order by event_position, is_leave
        ) <= {{ privacy().events }}
    ),

    counted as (
        select event_timestamp, transition, count(*) as transition_count
        from bounded
        group by event_timestamp, transition
    ),

    cells as (
        select event_timestamp, transition
        from due_days, range({{ (states() | length) ** 2 }}) as every_cell (transition)
    )

    select
        event_timestamp,
        transition,
        coalesce(transition_count, 0) + {{ noise('action_transitions', "event_timestamp || ' ' || transition") }}
    from cells
    left join counted using (event_timestamp, transition)
{% endmacro %}

{#- Of declared items every cell; else the items whose noisy number of users is above the threshold. -#}
{% macro items_of_due_days() %}
    {%- set given = privacy() %}
    with bounded as (
        select {{ end_of_day('event_timestamp') }} as event_timestamp, user_id, item_id, action_index
        from {{ ref('int_events') }}
        where item_id is not null and {{ end_of_day('event_timestamp') }} in (select event_timestamp from due_days)
        {%- if given['items'] %} and item_id in {{ text_list(given['items']) }}{% endif %}
        qualify row_number() over (
            partition by user_id, {{ end_of_day('event_timestamp') }} order by event_position
        ) <= {{ given.events }}
    ),

    told as (
        {%- if given['items'] %}
        select event_timestamp, item_id
        from due_days, (values {% for item in given['items'] %}({{ text(item) }}){{ ', ' if not loop.last }}{% endfor %}) as catalogue (item_id)
        {%- else %}
        select event_timestamp, item_id
        from (select event_timestamp, item_id, count(distinct user_id) as users from bounded group by event_timestamp, item_id)
        where users + {{ noise('item_keys', "event_timestamp || ' ' || item_id") }} >= {{ item_threshold() }}
        {%- endif %}
    ),

    counted as (
        select event_timestamp, item_id, action_index, count(*) as event_count
        from bounded
        group by event_timestamp, item_id, action_index
    ),

    cells as (
        select event_timestamp, item_id, action_index
        from told, range({{ actions() | length }}) as every_action (action_index)
    )

    select
        event_timestamp,
        item_id,
        action_index,
        coalesce(event_count, 0) + {{ noise('item_activity', "event_timestamp || ' ' || item_id || ' ' || action_index") }}
    from cells
    left join counted using (event_timestamp, item_id, action_index)
{% endmacro %}
