{#-
  The same models over what a stream has just taken in. `trainer stream` compiles the project once with the variable
  `streaming` and runs the statements in a DuckDB of its own, whose relations hold the touched users and nothing else:
  staging reads the arrivals, intermediate models are made whole of these users' history until now, and a user's feature
  views make only the row in force (see in_force.sql).
-#}

{% macro is_streaming() %}
  {{ return(var('streaming', false)) }}
{% endmacro %}

{#- What the stream hands to the models: arrivals (rows of the log), touched (key, touched_from, touched_until; unique by key), clock (instant). -#}
{% macro streaming_relation(name) %}
  {{ return('streaming.' ~ name) }}
{% endmacro %}
