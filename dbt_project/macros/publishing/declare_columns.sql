{#-
  Declare a model's contract from SQL.

  The columns of a windowed view depend on the dataset (one count per action) and on the scale (their
  names), and a scale is to be one file: so they cannot stand in YAML. This macro puts them on dbt's own
  node, where `contract: {enforced: true}`, the manifest, `dbt docs` and everything downstream find them
  as if YAML had. It runs whenever the model is rendered, and adds to what YAML declares.

  columns: list of {name, data_type, description}, without the keys of the entity's view, which come first.
-#}
{% macro declare_columns(columns, entity='user') %}
  {%- set keys = [
      column(entity ~ '_id', 'varchar', {'user': 'Who.', 'item': 'Which item.', 'action': 'Which state: an action, or leave.'}[entity]),
      column('event_timestamp', 'timestamp', 'From when on the row holds, in UTC; until the next row of the ' ~ entity ~ '.')] -%}
  {%- set computed = [computed_at_column()] if 'features' in config.model.fqn else [] -%}
  {%- do add_columns(config.model, keys + columns + computed) -%}
  {%- if not execute -%}
    {%- set declared = [] -%}
    {%- for name, given in config.model.columns.items() -%}
      {%- do declared.append(column(name, given.data_type, given.description)) -%}
    {%- endfor -%}
    {{ config(meta={'columns': declared}) }}
  {%- endif -%}
{% endmacro %}

{#-
  dbt writes the manifest anew at every command, with only what YAML says of a model that the command leaves out,
  while that model's rows stay published. So each model's own columns go into its `meta` too, which lasts, and
  every build puts them on all nodes before it starts.
-#}
{% macro complete_contracts() %}
  {%- for node in ref.manifest.nodes.values() if node.resource_type == 'model' -%}
    {%- do add_columns(node, node.config.meta.get('columns', [])) -%}
  {%- endfor -%}
{% endmacro %}

{% macro add_columns(node, columns) %}
  {%- set missing = {} -%}
  {%- for column in columns if column.name not in node.columns -%}
    {%- do missing.update({column.name: column}) -%}
  {%- endfor -%}
  {%- if missing -%}
    {%- set copy = node.to_dict() -%}
    {%- do copy['columns'].update(missing) -%}
    {%- do node.columns.update(node.from_dict(copy).columns) -%}
  {%- endif -%}
{% endmacro %}

{#- The last column of every feature view. -#}
{% macro computed_at_column() %}
  {{ return(column('computed_at', 'timestamp', 'When the row was computed, by the log\'s clock: the latest arrival known to the build that made it so; never earlier than in a build before.')) }}
{% endmacro %}

{#- Shorthand for one entry. -#}
{% macro column(name, data_type, description) %}
  {{ return({'name': name, 'data_type': data_type, 'description': description}) }}
{% endmacro %}
