{#-
  What the columns of internal models mean, where their names depend on the dataset and YAML cannot hold them: a count
  of each action, a sum of each measure. Published models say it of themselves, by declare_columns.
-#}

{#- Put the descriptions on dbt's own nodes, where `dbt docs` and the manifest find them as if YAML had them. -#}
{% macro describe_internal_columns() %}
  {%- set described = internal_columns() -%}
  {%- for node in ref.manifest.nodes.values() if node.resource_type == 'model' -%}
    {%- do add_columns(node, described.get(node.name, [])) -%}
  {%- endfor -%}
{% endmacro %}

{#- {model: its columns}. The types are those of the tables: nothing enforces them here. -#}
{% macro internal_columns() %}
  {%- set of_log = [] -%}
  {%- for name in measures() -%}
    {%- do of_log.append(internal_column(measure_column(name), 'The measure ' ~ name ~ ' in units of its last decimal; null where unknown.')) -%}
  {%- endfor -%}
  {%- set ties = [] -%}
  {%- for tie in tie_order() if tie.column != 'file_position' -%}
    {%- do ties.append(internal_column(tie.name, "The log's " ~ tie.column ~ ', by which tie_order orders the events of one instant.')) -%}
  {%- endfor -%}

  {%- set totals = [] -%}
  {%- for measure in event_measures() + instant_measures() -%}
    {%- do totals.append(internal_column(measure.name, "The user's running total of " ~ measure.increment ~ ' over ' ~ ('the instants' if measure in instant_measures() else 'the events') ~ ' so far.')) -%}
  {%- endfor -%}

  {%- set in_hour = [] -%}
  {%- set of_item = [] -%}
  {%- for measure in item_measures() -%}
    {%- do in_hour.append(internal_column(measure.name, measure.about ~ ' of the user with the item in the hour.')) -%}
    {%- do of_item.append(internal_column(measure.name, measure.about ~ ' of the item so far, by all users.')) -%}
  {%- endfor -%}

  {%- set rhythm = packed_descriptions('hours', 24, "The user's events so far by UTC hour") + packed_descriptions('weekdays', 7, "The user's events so far by UTC weekday, from Monday") -%}
  {%- set about = "The user's transitions so far, row-major over the states" -%}
  {%- if transitions_are_packed() -%}
    {%- set transitions = packed_descriptions('transitions', transition_cells(), about) -%}
  {%- else -%}
    {%- set transitions = [internal_column('transition_counts', about ~ '.')] -%}
  {%- endif -%}

  {%- set distances = [] -%}
  {%- for thing in reappearing_things('user_activity') + reappearing_things('user_rhythm') -%}
    {%- do distances.append(internal_column(thing.name ~ '_seen_us_ago', "Microseconds since the user's event of the same " ~ thing.name ~ ' before; null where there is none.')) -%}
    {%- do distances.append(internal_column(thing.name ~ '_returns_in_us', "Microseconds until the user's next event of the same " ~ thing.name ~ '; null where there is none.')) -%}
  {%- endfor -%}

  {%- set sampled = [] -%}
  {%- for feature in pattern_features(pattern_scale()) -%}
    {%- do sampled.append(internal_column(feature.name, feature.about)) -%}
  {%- endfor -%}

  {{ return({
    'base_events': of_log + ties,
    'base_events__judged': of_log + ties,
    'stg_events': of_log + ties,
    'int_events': of_log + distances,
    'int_user_totals': totals,
    'int_item_hours': in_hour,
    'int_item_totals': of_item,
    'int_rhythm_totals': rhythm,
    'int_transition_totals': transitions,
    'int_pattern_sample': sampled,
  }) }}
{% endmacro %}

{#- A measure's name comes quoted, for SQL. -#}
{% macro internal_column(name, description) %}
  {{ return(column(name.strip('"`'), none, description)) }}
{% endmacro %}

{#- Of columns that hold several counters each. -#}
{% macro packed_descriptions(name, counters, about) %}
  {%- set together = counter_packing().counters -%}
  {%- set found = [] -%}
  {%- for packed in packed_columns(name, counters) -%}
    {%- do found.append(internal_column(packed.name, about ~ ': counters ' ~ together * loop.index0 ~ ' to ' ~ (([together * loop.index, counters] | min) - 1) ~ ' from 0, 31 bits each, the first lowest.')) -%}
  {%- endfor -%}
  {{ return(found) }}
{% endmacro %}
