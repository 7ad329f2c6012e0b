{#- What a build does before its first and after its last model. -#}

{% macro start_build() %}
  {%- if not execute -%}
    {#- While dbt parses: what is refused here leaves the manifest of the last good build in place. -#}
    {%- set home = env_var('SCALESPACE_HOME', '') -%}
    {%- if home and not home.startswith('/') -%}
      {{ bad_input("SCALESPACE_HOME is '" ~ home ~ "': write it as an absolute path") }}
    {%- endif -%}
    {%- do check_dataset() -%}
  {%- elif flags.WHICH == 'generate' -%}
    {%- do describe_internal_columns() -%}
  {%- elif flags.WHICH in ['build', 'run', 'test'] -%}
    {%- do complete_contracts() -%}
    {%- do describe_internal_columns() -%}
    {%- do check_dataset() -%}
    {%- do note_unknown_keys() -%}
    {%- set home = home() -%}
    {%- do prepare_state() -%}
    {%- if flags.WHICH in ['build', 'run'] -%}
      {#- Renders what base_events will run, which holds the dataset file against the log: one line now, not a page of skips. -#}
      {%- if 'model.scalespace.base_events' in selected_resources -%}{%- do raw_events() -%}{%- endif -%}
    {%- endif -%}
  {%- endif -%}
{% endmacro %}

{% macro finish_build(results) %}
  {%- if execute and flags.WHICH in ['build', 'run'] and not flags.EMPTY -%}
    {%- set failed = [] -%}
    {%- set built = [] -%}
    {%- for result in results -%}
      {%- if result.status | string in ['error', 'fail', 'skipped', 'partial success', 'runtime error'] -%}
        {%- do failed.append(result) -%}
      {%- else -%}
        {%- do built.append(result.node.name) -%}
      {%- endif -%}
    {%- endfor -%}
    {#- The table of an earlier build says nothing of this one. -#}
    {%- set accounting = report_accounting() if 'event_accounting' in built else none -%}
    {%- if failed -%}
      {%- do log('scalespace: nothing was published, what was published before stays in force: ' ~ failed | length ~ ' nodes failed or were skipped, the first is ' ~ failed[0].node.name, info=true) -%}
      {%- do explain_unreadable_log(failed[0]) -%}
    {%- else -%}
      {%- do publish_built(built) -%}
      {%- if accounting -%}
        {%- do step('write_report', [home(), 'accounting.json', tojson(accounting)]) -%}
      {%- endif -%}
      {%- if 'quality' in built -%}{%- do report_quality() -%}{%- endif -%}
    {%- endif -%}
  {%- endif -%}
{% endmacro %}

{#- DuckDB's twenty lines on a file that it cannot read, in one; what the macros refuse is one line already. -#}
{% macro explain_unreadable_log(result) %}
  {%- if result.node.name == 'base_events' and result.message and 'scalespace: ' not in result.message -%}
    {%- set line = step('unreadable', [setting('events_path'), result.message]) -%}
    {%- do log('Error in the log that base_events reads' ~ '\n  scalespace: ' ~ line, info=true) -%}
  {%- endif -%}
{% endmacro %}

{#- Say what became of every row, in one line, and return it as reports/accounting.json will have it. -#}
{% macro report_accounting() %}
  {%- set table = adapter.get_relation(target.database, target.schema, 'event_accounting') -%}
  {%- if table is not none -%}
    {%- set counts = {'raw': 0, 'accepted': 0, 'duplicates': 0} -%}
    {%- set rejected = {} -%}
    {%- set notes = [] -%}
    {%- for row in run_query('select verdict, reason, event_count from ' ~ table ~ ' order by verdict, reason').rows -%}
      {%- if row[0] == 'rejected' -%}{%- do rejected.update({row[1]: row[2] | int}) -%}
      {%- elif row[0] == 'changed' -%}{%- do notes.append((row[2] | int) ~ ' ' ~ row[1]) -%}
      {%- else -%}{%- do counts.update({row[0]: row[2] | int}) -%}
      {%- endif -%}
    {%- endfor -%}
    {%- set reasons = [] -%}
    {%- for reason, number in rejected.items() -%}{%- do reasons.append(reason ~ ' ' ~ number) -%}{%- endfor -%}
    {%- do log('scalespace: ' ~ setting('dataset', 'shop') ~ ': raw ' ~ counts.raw ~ ' = accepted ' ~ counts.accepted
        ~ ' + duplicates ' ~ counts.duplicates ~ ' + rejected ' ~ (rejected.values() | sum)
        ~ (' (' ~ reasons | join(', ') ~ ')' if reasons else '') ~ ('; ' ~ notes | join(', ') if notes else ''), info=true) -%}
    {{ return({'raw': counts.raw, 'accepted': counts.accepted, 'duplicates': counts.duplicates, 'rejected': rejected}) }}
  {%- endif -%}
{% endmacro %}
