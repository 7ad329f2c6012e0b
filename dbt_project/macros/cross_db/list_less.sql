{#- One list less another of the same length, element by element. -#}
{% macro list_less(list, other) %}
  {{- return(adapter.dispatch('list_less', 'scalespace')(list, other)) -}}
{% endmacro %}

{% macro default__list_less(list, other) %}
  {{- return('list_transform(list_zip(' ~ list ~ ', ' ~ other ~ '), lambda pair: pair[1] - pair[2])') -}}
{% endmacro %}

{% macro spark__list_less(list, other) %}
  {{- return('zip_with(' ~ list ~ ', ' ~ other ~ ', (one, two) -> one - two)') -}}
{% endmacro %}
