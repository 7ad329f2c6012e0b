{#- A taxonomy that matches no row of a log that has rows is a mistake in the dataset file, not an empty log. -#}
{% macro check_taxonomy() %}
  {%- if execute and not flags.EMPTY and flags.WHICH in ['build', 'run'] -%}
    {%- set counts = run_query('select count(*) filter (where verdict = ' ~ text('accepted') ~ '), count(*) filter (where verdict = ' ~ text('unknown_action') ~ ') from ' ~ ref('base_events__judged')).rows[0] -%}
    {%- if not counts[0] and counts[1] -%}
      {%- set seen = run_query('select raw_action_type from ' ~ ref('base_events__judged') ~ ' where raw_action_type is not null group by 1 order by count(*) desc, 1 limit 5').columns[0].values() -%}
      {{ bad_input(setting('events_path') ~ ': no row has one of the actions ' ~ actions() | join(', ') ~ '; the log has ' ~ seen | join(', ') ~ ': correct actions or action_map in the dataset file') }}
    {%- endif -%}
  {%- endif -%}
{% endmacro %}
