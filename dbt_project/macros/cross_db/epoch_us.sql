{#- Microseconds since 1970 of an instant. -#}
{% macro epoch_us(instant) %}
  {{- return(adapter.dispatch('epoch_us', 'scalespace')(instant)) -}}
{% endmacro %}

{% macro default__epoch_us(instant) %}
  {{- return('epoch_us(' ~ instant ~ ')') -}}
{% endmacro %}

{% macro spark__epoch_us(instant) %}
  {{- return('unix_micros(' ~ instant ~ ')') -}}
{% endmacro %}
