{#- The Euclidean distance of two lists of the same length. -#}
{% macro list_distance(list, other) %}
  {{- return(adapter.dispatch('list_distance', 'scalespace')(list, other)) -}}
{% endmacro %}

{% macro default__list_distance(list, other) %}
  {{- return('list_distance(' ~ list ~ ', ' ~ other ~ ')') -}}
{% endmacro %}

{% macro spark__list_distance(list, other) %}
  {{- return('sqrt(aggregate(zip_with(' ~ list ~ ', ' ~ other ~ ', (one, two) -> (one - two) * (one - two)), cast(0 as double), (total, square) -> total + square))') -}}
{% endmacro %}
