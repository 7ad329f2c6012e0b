{#- What a build does before its first and after its last model. -#}

{% macro start_build() %}
  {%- if execute and flags.WHICH in ['build', 'run', 'test'] -%}
    {%- if env_var('SCALESPACE_HOME', '/') and not env_var('SCALESPACE_HOME', '/').startswith('/') -%}
      {{ bad_input("SCALESPACE_HOME is '" ~ env_var('SCALESPACE_HOME') ~ "': write it as an absolute path") }}
    {%- endif -%}
    {%- do check_dataset() -%}
    {%- do home() -%}
  {%- endif -%}
{% endmacro %}

{% macro finish_build(results) %}
  {%- if execute and flags.WHICH in ['build', 'run'] and not flags.EMPTY -%}
    {%- set failed = [] -%}
    {%- for result in results -%}
      {%- if result.status | string in ['error', 'fail', 'skipped', 'partial success'] -%}
        {%- do failed.append(result.node.name) -%}
      {%- endif -%}
    {%- endfor -%}
    {%- do report_accounting() -%}
    {%- if failed -%}
      {%- do log('scalespace: nothing was published, what was published before stays in force: ' ~ failed | length ~ ' nodes failed or were skipped, the first is ' ~ failed[0], info=true) -%}
    {%- else -%}
      {%- do publish_staged() -%}
    {%- endif -%}
  {%- endif -%}
{% endmacro %}

{#- The folder of the run, absolute; made where it is missing. -#}
{% macro home() %}
  {{ return(run_query('select scalespace_prepare(' ~ text(target.path) ~ ')').rows[0][0]) }}
{% endmacro %}

{#- One line and reports/accounting.json, from the table that the data tests have checked. -#}
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
    {%- set content = tojson({'raw': counts.raw, 'accepted': counts.accepted, 'duplicates': counts.duplicates, 'rejected': rejected}) -%}
    {%- do run_query('select scalespace_write_report(' ~ text(home()) ~ ", 'accounting.json', " ~ text(content) ~ ')') -%}
  {%- endif -%}
{% endmacro %}
