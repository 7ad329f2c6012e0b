{#- The taxonomy's action of a raw value; null where it is unknown and the dataset rejects the unknown. -#}
{% macro mapped_action(value) %}
  {%- set unknown = setting('unknown_actions', 'reject') | string -%}
  {%- set mapping = mapping_setting('action_map') -%}
  case
    {%- for raw, action in mapping.items() %}
    when {{ value }} = {{ text(raw) }} then {{ text(action) }}
    {%- endfor %}
    when {{ value }} in {{ text_list(actions()) }} then {{ value }}
    {%- if unknown != 'reject' %}
    else {{ text(unknown) }}
    {%- endif %}
  end
{% endmacro %}

{#- Position of an action in the taxonomy, from 0: the state's row and column in the matrix. -#}
{% macro action_index(value) %}
  case {{ value }}
    {%- for action in actions() %} when {{ text(action) }} then {{ loop.index0 }}{% endfor %} end
{% endmacro %}

{#- Whether a raw value is in the taxonomy, by itself or by `action_map`; false for null. -#}
{% macro is_known_action(value) %}
  {%- set known = mapping_setting('action_map').keys() | list + actions() -%}
  coalesce({{ value }} in {{ text_list(known) }}, false)
{%- endmacro %}
