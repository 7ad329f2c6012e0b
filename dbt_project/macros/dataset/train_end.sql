{#-
  The end of the training part, as SQL: the dataset file's split.train_end, or the instant at or before which the
  first 70 % of the accepted events lie; null for a log without events. The trainer has the same rule
  (trainer/splits.py), and a test holds the two equal.
-#}
{% macro train_end() %}
  {%- set given = mapping_setting('split').get('train_end') -%}
  {%- if given -%}
    {{ return(instant_literal(given)) }}
  {%- endif -%}
  {{ return('(select ' ~ instant_quantile('event_timestamp', 0.7) ~ ' from ' ~ ref('stg_events') ~ ')') }}
{% endmacro %}
