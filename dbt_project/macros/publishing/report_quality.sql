{#- Write reports/quality.json and quality.html from the model `quality`, and say the least of it in one line. -#}
{% macro report_quality() %}
  {%- set rows = [] -%}
  {%- for row in run_query('select measure, key, value from ' ~ adapter.get_relation(target.database, target.schema, 'quality')).rows -%}
    {%- do rows.append([row[0], row[1], row[2] | float if row[2] is not none else none]) -%}
  {%- endfor -%}
  {%- set said = step('write_quality', [home(), setting('dataset', 'shop'), tojson(rows)]) -%}
  {%- do log('scalespace: quality: ' ~ said, info=true) -%}
{% endmacro %}
