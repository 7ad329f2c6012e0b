{#- Every column of a relation but these: `all_but(['a', 'b'])`, `all_but(['a'], 'judged')`. -#}
{% macro all_but(names, relation=none) %}
  {{- return(adapter.dispatch('all_but', 'scalespace')(names, relation ~ '.*' if relation else '*')) -}}
{% endmacro %}

{% macro default__all_but(names, star) %}
  {{- return(star ~ ' exclude (' ~ names | join(', ') ~ ')') -}}
{% endmacro %}

{% macro spark__all_but(names, star) %}
  {{- return(star ~ ' except (' ~ names | join(', ') ~ ')') -}}
{% endmacro %}
