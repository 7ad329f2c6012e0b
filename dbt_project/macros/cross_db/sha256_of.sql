{#- SHA-256 of a text, in lower-case hexadecimal digits. -#}
{% macro sha256_of(value) %}
  {{- return(adapter.dispatch('sha256_of', 'scalespace')(value)) -}}
{% endmacro %}

{% macro default__sha256_of(value) %}
  {{- return('sha256(' ~ value ~ ')') -}}
{% endmacro %}

{% macro spark__sha256_of(value) %}
  {{- return('sha2(' ~ value ~ ', 256)') -}}
{% endmacro %}
