{#- The dataset file's keys, with their defaults, in one place. Every model reads them through these macros. -#}

{% macro setting(name, default=none) %}
  {%- if var('dataset', none) is none -%}
    {{ return(var('bundled').get(name, default)) }}
  {%- endif -%}
  {{ return(var(name, default)) }}
{% endmacro %}

{% macro actions() %}
  {%- set names = [] -%}
  {%- for action in setting('actions', []) or [] -%}{%- do names.append(action | string) -%}{%- endfor -%}
  {{ return(names) }}
{% endmacro %}

{#- The states of the Markov chain: the taxonomy in its declared order, then `leave`. -#}
{% macro states() %}
  {{ return(actions() + ['leave']) }}
{% endmacro %}

{#- The actions that the dataset gives this role, as a list. -#}
{% macro actions_of_role(role) %}
  {%- set names = [] -%}
  {%- for action, given in (setting('action_roles', {}) or {}).items() -%}
    {%- if given == role -%}{%- do names.append(action | string) -%}{%- endif -%}
  {%- endfor -%}
  {{ return(names) }}
{% endmacro %}

{#- {name: decimals} of the declared numeric measures. -#}
{% macro measures() %}
  {%- set decimals = {} -%}
  {%- for name, spec in (setting('measures', {}) or {}).items() -%}
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
  {{ return((setting('horizons', {}) or {}).get('conversion', []) or []) }}
{% endmacro %}

{#- What the trainer needs to know of the dataset that a manifest was made from. -#}
{% macro dataset_vars() %}
  {{ return({
    'dataset': setting('dataset'),
    'actions': actions(),
    'action_roles': setting('action_roles', {}) or {},
    'measures': measures(),
    'session_gap_minutes': setting('session_gap_minutes', 30),
    'transition_prior': transition_prior(),
    'count_simultaneous': setting('count_simultaneous', false),
    'horizons': setting('horizons', {}) or {},
    'split': setting('split', {}) or {},
  }) }}
{% endmacro %}
