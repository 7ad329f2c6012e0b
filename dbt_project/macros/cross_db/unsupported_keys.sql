{#- Keys of the dataset file that an engine has no form of; docs/scale.md says why. -#}
{% macro unsupported_keys() %}
  {{- return(adapter.dispatch('unsupported_keys', 'scalespace')()) -}}
{% endmacro %}

{% macro default__unsupported_keys() %}
  {{- return([]) -}}
{% endmacro %}

{#- What is released of a day stays for ever, and a salt must reach no executor's command line: both are one machine's. -#}
{% macro spark__unsupported_keys() %}
  {{- return(['hash_user_ids', 'privacy', 'item_vectors', 'item_text']) -}}
{% endmacro %}
