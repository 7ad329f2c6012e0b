{#-
  A log that has rows and not one event is a mistake in the dataset file, not an empty log: say which.
  As of an early `known_at` it is no mistake.
-#}
{% macro check_accepted() %}
  {%- if execute and not flags.EMPTY and flags.WHICH in ['build', 'run'] and not known_at() -%}
    {%- set judged = ref('base_events__judged') -%}
    {%- set verdicts = run_query('select verdict, count(*) from ' ~ judged ~ ' group by 1 order by 2 desc, 1').columns[0].values() | reject('equalto', 'duplicate') | list -%}
    {%- if verdicts and 'accepted' not in verdicts -%}
      {%- set reason = verdicts[0] -%}
      {%- set column = 'raw_action_type' if reason == 'unknown_action' else 'raw_event_timestamp' -%}
      {%- set seen = run_query('select ' ~ column ~ ' from ' ~ judged ~ ' where ' ~ column ~ ' is not null group by 1 order by count(*) desc, 1 limit 5').columns[0].values() | join(', ') -%}
      {%- set advice = {
          'unknown_action': 'no row has one of the actions ' ~ actions() | join(', ') ~ '; the log has ' ~ seen ~ ': correct actions or action_map in the dataset file',
          'bad_timestamp': 'no row has a time in columns.event_timestamp; the log has ' ~ (seen or 'nothing there') ~ ': name another column, or set timestamp_unit to s, ms or us where these are epochs',
          'future_timestamp': 'every row lies in the future; the log has ' ~ seen ~ ': correct timestamp_unit in the dataset file',
          'bot': 'every user has more than ' ~ bot_limit() ~ ' events in some hour: raise bots.events_per_hour in the dataset file, or leave bots out',
          'null_user': 'no row has a user: correct columns.user_id in the dataset file',
      } -%}
      {{ bad_input(setting('events_path') ~ ': ' ~ advice[reason]) }}
    {%- endif -%}
  {%- endif -%}
{% endmacro %}
