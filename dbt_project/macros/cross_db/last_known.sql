{#-
  The last value that is not null, as an aggregate for a window over growing rows.

  order: SQL, ascending and unique in the window, by which the window is ordered.
-#}
{% macro last_known(value, order) %}
  {{- return(adapter.dispatch('last_known', 'scalespace')(value, order)) -}}
{% endmacro %}

{#-
  Not last_value(... ignore nulls): over rows without a value that goes back to the first one from each of them, which
  costs the square of a user's history.
-#}
{% macro default__last_known(value, order) %}
  {{- return('arg_max(' ~ value ~ ', ' ~ order ~ ')') -}}
{% endmacro %}

{#- Its aggregate keeps what it saw last as the frame grows, and its max_by takes nulls as well. -#}
{% macro spark__last_known(value, order) %}
  {{- return('last(' ~ value ~ ', true)') -}}
{% endmacro %}
