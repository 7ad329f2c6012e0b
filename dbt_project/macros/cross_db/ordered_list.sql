{#- An aggregate: the values of a group as a list, in the order of a unique expression. -#}
{% macro ordered_list(value, order) %}
  {{- return(adapter.dispatch('ordered_list', 'scalespace')(value, order)) -}}
{% endmacro %}

{% macro default__ordered_list(value, order) %}
  {{- return('list(' ~ value ~ ' order by ' ~ order ~ ')') -}}
{% endmacro %}

{% macro spark__ordered_list(value, order) %}
  {{- return('transform(sort_array(collect_list(struct(' ~ order ~ ' as place, ' ~ value ~ ' as value))), element -> element.value)') -}}
{% endmacro %}
