{#- 1 as an integer of a type, so many bits to the left, and an integer so many bits to the right. -#}
{% macro one_shifted(type, bits) %}
  {{- return(adapter.dispatch('one_shifted', 'scalespace')(type, bits)) -}}
{% endmacro %}

{% macro default__one_shifted(type, bits) %}
  {{- return('cast(1 as ' ~ type ~ ') << (' ~ bits ~ ')') -}}
{% endmacro %}

{% macro spark__one_shifted(type, bits) %}
  {{- return('shiftleft(cast(1 as ' ~ type ~ '), cast(' ~ bits ~ ' as int))') -}}
{% endmacro %}

{% macro shifted_back(integer, bits) %}
  {{- return(adapter.dispatch('shifted_back', 'scalespace')(integer, bits)) -}}
{% endmacro %}

{% macro default__shifted_back(integer, bits) %}
  {{- return('(' ~ integer ~ ' >> ' ~ bits ~ ')') -}}
{% endmacro %}

{% macro spark__shifted_back(integer, bits) %}
  {{- return('shiftright(' ~ integer ~ ', ' ~ bits ~ ')') -}}
{% endmacro %}
