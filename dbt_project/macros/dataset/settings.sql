{#- The dataset file's keys, with their defaults, in one place. Every model reads them through these macros. -#}

{% macro setting(name, default=none) %}
  {%- if var('dataset', none) is none -%}
    {{ return(var('bundled').get(name, default)) }}
  {%- endif -%}
  {{ return(var(name, default)) }}
{% endmacro %}

{#- All keys of a dataset file. -#}
{% macro dataset_keys() %}
  {{ return([
    'dataset', 'events_path', 'columns', 'csv', 'measures', 'timestamp_unit', 'source_timezone', 'actions', 'action_map',
    'action_roles', 'unknown_actions', 'tie_order', 'split', 'session_gap_minutes', 'horizons', 'transition_prior',
    'count_simultaneous', 'freshness', 'bots', 'item_vectors', 'item_text', 'hash_user_ids',
    'privacy']) }}
{% endmacro %}

{#- A key that holds a mapping; empty where it is left out. -#}
{% macro mapping_setting(name) %}
  {%- set given = setting(name) or {} -%}
  {%- if given is not mapping -%}
    {{ bad_input('dataset ' ~ setting('dataset') ~ ": '" ~ name ~ "' is " ~ given ~ ", where keys with values belong: see data/shop.yml for an example") }}
  {%- endif -%}
  {{ return(given) }}
{% endmacro %}

{#- A key that holds a list; empty where it is left out. -#}
{% macro list_setting(name) %}
  {{ return(a_list(name, setting(name) or [])) }}
{% endmacro %}

{% macro a_list(name, given) %}
  {%- if given is string or given is mapping or given is not iterable -%}
    {{ bad_input('dataset ' ~ setting('dataset') ~ ": '" ~ name ~ "' is " ~ given ~ ', where a list belongs, as in [a, b]') }}
  {%- endif -%}
  {{ return(given) }}
{% endmacro %}

{% macro actions() %}
  {%- set names = [] -%}
  {%- for action in list_setting('actions') -%}{%- do names.append(action | string) -%}{%- endfor -%}
  {{ return(names) }}
{% endmacro %}

{#- The states of the Markov chain: the taxonomy in its declared order, then `leave`. -#}
{% macro states() %}
  {{ return(actions() + ['leave']) }}
{% endmacro %}

{#- The name of the state with this index, from 0. -#}
{% macro state_name(index) %}
  {%- set names = [] -%}
  {%- for state in states() -%}{%- do names.append(text(state)) -%}{%- endfor -%}
  {{- return(list_at(list_of(names), index ~ ' + 1')) -}}
{% endmacro %}

{#- The actions that the dataset gives this role, as a list. -#}
{% macro actions_of_role(role) %}
  {%- set names = [] -%}
  {%- for action, given in mapping_setting('action_roles').items() -%}
    {%- if given == role -%}{%- do names.append(action | string) -%}{%- endif -%}
  {%- endfor -%}
  {{ return(names) }}
{% endmacro %}

{#- {name: decimals} of the declared numeric measures. -#}
{% macro measures() %}
  {%- set decimals = {} -%}
  {%- for name, spec in mapping_setting('measures').items() -%}
    {%- if spec is not mapping or not spec.get('sql') -%}
      {{ bad_input('dataset ' ~ setting('dataset') ~ ': measures.' ~ name ~ ' needs an sql expression, as in {sql: amount, decimals: 2}') }}
    {%- endif -%}
    {%- if spec.get('decimals', 0) not in range(7) -%}
      {{ bad_input('dataset ' ~ setting('dataset') ~ ': measures.' ~ name ~ '.decimals is ' ~ spec.decimals ~ ': write a whole number from 0 to 6') }}
    {%- endif -%}
    {%- do decimals.update({name: spec.get('decimals', 0) | int}) -%}
  {%- endfor -%}
  {{ return(decimals) }}
{% endmacro %}

{% macro session_gap_us() %}
  {{ return((setting('session_gap_minutes', 30) * 60000000) | int) }}
{% endmacro %}

{% macro transition_prior() %}
  {{ return(setting('transition_prior', 1)) }}
{% endmacro %}

{% macro conversion_horizons() %}
  {{ return(a_list('horizons.conversion', mapping_setting('horizons').get('conversion') or [])) }}
{% endmacro %}

{#- What the trainer needs to know of the dataset that a manifest was made from. -#}
{% macro dataset_vars() %}
  {{ return({
    'dataset': setting('dataset'),
    'actions': actions(),
    'action_roles': mapping_setting('action_roles'),
    'measures': measures(),
    'session_gap_minutes': setting('session_gap_minutes', 30),
    'transition_prior': transition_prior(),
    'count_simultaneous': setting('count_simultaneous', false),
    'horizons': mapping_setting('horizons'),
    'split': mapping_setting('split'),
  }) }}
{% endmacro %}
