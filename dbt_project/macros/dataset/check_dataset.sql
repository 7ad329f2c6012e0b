{#- Refuse a dataset file that cannot be built, before anything runs: one line that says what to do. -#}
{% macro check_dataset() %}
  {%- set name = setting('dataset', 'shop') -%}
  {%- set file = 'dataset ' ~ name -%}
  {%- set required_columns = ['user_id', 'action_type', 'event_timestamp'] -%}
  {%- set known_columns = required_columns + ['event_id', 'ingested_at', 'item_id', 'category_id', 'location', 'duration_ms'] -%}

  {%- for key in ['events_path', 'columns', 'actions'] -%}
    {%- if not setting(key) -%}
      {{ bad_input(file ~ ": the key '" ~ key ~ "' is missing: see data/shop.yml for an example") }}
    {%- endif -%}
  {%- endfor -%}

  {%- for key in unsupported_keys() if setting(key) -%}
    {{ bad_input(file ~ ": '" ~ key ~ "' is not built on this engine: leave it out, or build with DuckDB") }}
  {%- endfor -%}

  {%- set columns = setting('columns') -%}
  {%- if columns is not mapping -%}
    {{ bad_input(file ~ ": 'columns' must map our names to the log's, as in {user_id: visitorid, ...}") }}
  {%- endif -%}
  {%- for column in required_columns -%}
    {%- if column not in columns -%}
      {{ bad_input(file ~ ": columns." ~ column ~ " is missing: name the log's column that holds it") }}
    {%- endif -%}
  {%- endfor -%}
  {%- for column in columns -%}
    {%- if column not in known_columns -%}
      {{ bad_input(file ~ ": columns." ~ column ~ " is not a column of an event; known are " ~ known_columns | join(', ') ~ "; declare numbers under 'measures'") }}
    {%- endif -%}
  {%- endfor -%}

  {#- Action and measure names become column names that no other view may have: <action>_count of a user,
      item_<action>_count of an item, <measure>_sum, <measure>_mean. -#}
  {%- set seen = {} -%}
  {%- for own in ['event_count', 'category_change_count', 'session_count', 'duration_ms_sum', 'location_change_count', 'item_event_count'] -%}
    {%- do seen.update({own: "the view's own " ~ own}) -%}
  {%- endfor -%}
  {%- for action in actions() -%}
    {%- if not modules.re.fullmatch('[A-Za-z_][A-Za-z0-9_]*', action) -%}
      {{ bad_input(file ~ ": the action '" ~ action ~ "' cannot name a column: call it by letters, digits and _, and map the log's value to it in action_map") }}
    {%- endif -%}
    {%- if action | lower == 'leave' -%}
      {{ bad_input(file ~ ": 'leave' is the state after a session and cannot be an action: rename it in action_map") }}
    {%- endif -%}
    {%- for column in [action | lower ~ '_count', 'item_' ~ action | lower ~ '_count'] -%}
      {%- if column in seen -%}
        {{ bad_input(file ~ ": the action '" ~ action ~ "' would make the column " ~ column ~ " that " ~ seen[column] ~ " makes already: rename it") }}
      {%- endif -%}
      {%- do seen.update({column: "the action '" ~ action ~ "'"}) -%}
    {%- endfor -%}
  {%- endfor -%}
  {#- labels/events has a column for each measure, beside its own. -#}
  {%- set of_events = known_columns + ['event_position', 'gap_ms', 'hour'] -%}
  {%- for measure in measures() -%}
    {%- if measure | lower in of_events -%}
      {{ bad_input(file ~ ": the measure '" ~ measure ~ "' would make the column " ~ measure | lower ~ ' that an event has already: rename it') }}
    {%- endif -%}
    {%- if not modules.re.fullmatch('[A-Za-z_][A-Za-z0-9_]*', measure | string) -%}
      {{ bad_input(file ~ ": the measure '" ~ measure ~ "' cannot name a column: use letters, digits and _") }}
    {%- endif -%}
    {%- if measure | lower ~ '_sum' in seen -%}
      {{ bad_input(file ~ ": the measure '" ~ measure ~ "' would make the column " ~ measure | lower ~ "_sum that exists already: rename it") }}
    {%- endif -%}
    {%- do seen.update({measure | lower ~ '_sum': "the measure '" ~ measure ~ "'"}) -%}
  {%- endfor -%}

  {%- for action, role in mapping_setting('action_roles').items() -%}
    {%- if action | string not in actions() -%}
      {{ bad_input(file ~ ": action_roles names '" ~ action ~ "', which is not in actions") }}
    {%- endif -%}
    {%- if role not in ['search', 'intent', 'conversion'] -%}
      {{ bad_input(file ~ ": action_roles." ~ action ~ " is '" ~ role ~ "'; a role is search, intent or conversion") }}
    {%- endif -%}
  {%- endfor -%}
  {%- for raw, action in mapping_setting('action_map').items() -%}
    {%- if action | string not in actions() -%}
      {{ bad_input(file ~ ": action_map sends '" ~ raw ~ "' to '" ~ action ~ "', which is not in actions") }}
    {%- endif -%}
  {%- endfor -%}
  {%- set unknown = setting('unknown_actions', 'reject') | string -%}
  {%- if unknown != 'reject' and unknown not in actions() -%}
    {{ bad_input(file ~ ": unknown_actions is '" ~ unknown ~ "': write reject, or one of the actions") }}
  {%- endif -%}

  {%- if setting('session_gap_minutes', 30) is not number or setting('session_gap_minutes', 30) <= 0 -%}
    {{ bad_input(file ~ ": session_gap_minutes must be a number of minutes above 0") }}
  {%- endif -%}
  {%- if transition_prior() is not number or transition_prior() <= 0 -%}
    {{ bad_input(file ~ ": transition_prior must be a number above 0: with 0 a row that nobody left has no probabilities") }}
  {%- endif -%}
  {%- if setting('timestamp_unit', 's') not in ['s', 'ms', 'us'] -%}
    {{ bad_input(file ~ ": timestamp_unit is '" ~ setting('timestamp_unit') ~ "': write s, ms or us") }}
  {%- endif -%}
  {%- for key in mapping_setting('bots') if key != 'events_per_hour' -%}
    {{ bad_input(file ~ ": bots." ~ key ~ " is unknown: write bots: {events_per_hour: 1000}, or leave bots out") }}
  {%- endfor -%}
  {%- if mapping_setting('bots') and (bot_limit() is not integer or bot_limit() < 1) -%}
    {{ bad_input(file ~ ": bots.events_per_hour is '" ~ bot_limit() ~ "': write a whole number from 1, the most events that a user may have in an hour") }}
  {%- endif -%}
  {%- do check_user_ids() -%}
  {%- do check_privacy() -%}
  {%- do check_freshness() -%}
  {%- do check_item_content() -%}
  {%- do mapping_setting('csv') -%}
  {%- do mapping_setting('split') -%}
  {%- do list_setting('tie_order') -%}
  {%- for horizon in conversion_horizons() -%}
    {%- if conversion_horizons().count(horizon) > 1 -%}{{ bad_input(file ~ ": horizons.conversion names '" ~ horizon ~ "' twice") }}{%- endif -%}
    {%- if horizon == 'all' -%}{{ bad_input(file ~ ": horizons.conversion cannot be 'all'") }}{%- endif -%}
    {%- do duration_us(horizon) -%}
  {%- endfor -%}
  {%- if execute -%}
    {%- do check_instant('source_timezone', setting('source_timezone', 'UTC'), "timezone({}, timestamp '2000-01-01')", 'write a name of the time zone database, as in Europe/Berlin') -%}
    {%- for cut in ['train_end', 'valid_end'] if mapping_setting('split').get(cut) -%}
      {%- do check_instant('split.' ~ cut, mapping_setting('split')[cut], 'timestamptz {}', 'write an instant, as in 2024-05-31 or 2024-05-31 18:00:00') -%}
    {%- endfor -%}
    {%- if var('known_at', none) is not none -%}
      {%- do check_instant('known_at', var('known_at'), 'timestamptz {}', 'write an instant, as in 2024-01-31 12:00:00') -%}
    {%- endif -%}
  {%- endif -%}
{% endmacro %}

{#- DuckDB knows which zones and instants there are. -#}
{% macro check_instant(key, value, expression, advice) %}
  {%- if step('problem_with_sql', ['select ' ~ expression.replace('{}', default__text(value | string))]) -%}
    {{ bad_input('dataset ' ~ setting('dataset') ~ ': ' ~ key ~ " is '" ~ value ~ "': " ~ advice) }}
  {%- endif -%}
{% endmacro %}

{#- A misspelt key changes nothing, silently: say which keys are not of a dataset file. Other variables are allowed. -#}
{% macro note_unknown_keys() %}
  {%- set known = dataset_keys() + ['known_at', 'streaming'] -%}
  {%- for key in (invocation_args_dict.get('vars') or {}) if key not in known -%}
    {%- do log("scalespace: note: '" ~ key ~ "' is no key of a dataset file and changes nothing here; known are " ~ known | join(', '), info=true) -%}
  {%- endfor -%}
{% endmacro %}
