{#-
  Declare a model's contract from SQL.

  The columns of a windowed view depend on the dataset (one count per action) and on the scale (their
  names), and a scale is to be one file: so they cannot stand in YAML. This macro puts them on dbt's own
  node, where `contract: {enforced: true}`, the manifest, `dbt docs` and everything downstream find them
  as if YAML had. It runs whenever the model is rendered, and adds to what YAML declares.

  columns: list of {name, data_type, description}, without the keys of a user's view, which come first.
-#}
{% macro declare_columns(columns) %}
  {%- set node = config.model -%}
  {%- set missing = {} -%}
  {%- set keys = [
      column('user_id', 'varchar', 'Who.'),
      column('event_timestamp', 'timestamp', 'From when on the row holds, in UTC; until the next row of the user.')] -%}
  {%- for column in keys + columns -%}
    {%- if column.name not in node.columns -%}
      {%- do missing.update({column.name: column}) -%}
    {%- endif -%}
  {%- endfor -%}
  {%- if missing -%}
    {%- set copy = node.to_dict() -%}
    {%- do copy['columns'].update(missing) -%}
    {%- do node.columns.update(node.from_dict(copy).columns) -%}
  {%- endif -%}
{% endmacro %}

{#- Shorthand for one entry. -#}
{% macro column(name, data_type, description) %}
  {{ return({'name': name, 'data_type': data_type, 'description': description}) }}
{% endmacro %}
