{#- How old the log may be: the dataset file's `freshness`, which models/staging/_sources.yml reads too. -#}
{% macro check_freshness() %}
  {%- for threshold, after in mapping_setting('freshness').items() -%}
    {%- if threshold not in ['warn_after', 'error_after'] -%}
      {{ bad_input('dataset ' ~ setting('dataset') ~ ': freshness.' ~ threshold ~ ' is unknown; known are warn_after, error_after') }}
    {%- endif -%}
    {%- if not modules.re.fullmatch('[1-9][0-9]*[mhdw]', after | string) -%}
      {{ bad_input('dataset ' ~ setting('dataset') ~ ': freshness.' ~ threshold ~ " is '" ~ after ~ "': write a number and m, h, d or w, as in 90m, 12h, 3d") }}
    {%- endif -%}
  {%- endfor -%}
{% endmacro %}

{#-
  When the log's last row came: its arrival, or its event where the log does not say. A row that claims to be of
  the future says nothing of that: one of 2099 would keep the log fresh for ever.
-#}
{% macro log_loaded_at() %}
select max(coalesce(ingested_at, event_timestamp))
from ({{ raw_events() }})
where coalesce(ingested_at, event_timestamp) <= {{ build_clock() }} + interval 1 day
{% endmacro %}
