{#-
  `privacy` of the dataset file: what is published of the population has bounded contributions and noise.

  Each closed UTC day is released once: its counts, with noise, go into tables that only grow, and every view of the
  population is made of these. So a scale more, a build more or a late event costs nothing and tells nothing.
-#}
{% macro releases_privately() %}
  {#- A unit test gives rows by hand and speaks of exact counts. -#}
  {%- if model is defined and model.resource_type == 'unit_test' -%}{{ return(false) }}{%- endif -%}
  {{ return(setting('privacy') is not none and not is_streaming()) }}
{% endmacro %}

{#- {epsilon, delta, budget, events, since, items}, as declared; a number may be text, as YAML reads 1e-6. -#}
{% macro privacy() %}
  {%- set given = mapping_setting('privacy') -%}
  {{ return({
    'epsilon': given.get('epsilon_per_day') | float(-1), 'delta': given.get('delta_per_day', 0) | float(-1), 'budget': given.get('budget') | float(-1),
    'events': given.get('max_events_per_user_per_day', 20), 'since': given.get('since'),
    'items': a_list('privacy.items', given.get('items') or [])}) }}
{% endmacro %}

{#- Refuse what would be no guarantee. -#}
{% macro check_privacy() %}
  {%- if setting('privacy') is not none -%}
    {%- set file = 'dataset ' ~ setting('dataset') -%}
    {%- set known = ['epsilon_per_day', 'delta_per_day', 'budget', 'max_events_per_user_per_day', 'since', 'items'] -%}
    {%- for key in mapping_setting('privacy') if key not in known -%}
      {{ bad_input(file ~ ': privacy.' ~ key ~ ' is unknown; known are ' ~ known | join(', ')) }}
    {%- endfor -%}
    {%- set given = privacy() -%}
    {%- for key, value in [('epsilon_per_day', given.epsilon), ('budget', given.budget)] -%}
      {%- if value <= 0 -%}
        {{ bad_input(file ~ ': privacy.' ~ key ~ ' must be a number above 0, as in privacy: {epsilon_per_day: 0.1, budget: 10}') }}
      {%- endif -%}
    {%- endfor -%}
    {%- if given.events is not integer or given.events < 1 -%}
      {{ bad_input(file ~ ': privacy.max_events_per_user_per_day must be a whole number from 1') }}
    {%- endif -%}
    {%- if given.delta < 0 or given.delta >= 0.001 -%}
      {{ bad_input(file ~ ': privacy.delta_per_day must be a number below 0.001') }}
    {%- endif -%}
    {%- if releases_items() and not given['items'] and not given.delta -%}
      {{ bad_input(file ~ ': privacy: which items there are is told by the events alone, so either declare privacy.items, or give delta_per_day, by which rare items are kept back') }}
    {%- endif -%}
    {%- if execute and given.since -%}
      {%- do check_instant('privacy.since', given.since, 'timestamptz {}', 'write a day, as in 2024-05-31') -%}
    {%- endif -%}
  {%- endif -%}
{% endmacro %}

{% macro releases_items() %}
  {{ return('item_id' in setting('columns')) }}
{% endmacro %}

{#- How the epsilon of a day is divided: by halves among what is released. -#}
{% macro epsilon_of(release) %}
  {%- set given = privacy() -%}
  {%- set half = given.epsilon / 2 if releases_items() else given.epsilon -%}
  {%- if release == 'action_transitions' -%}{{ return(half) }}{%- endif -%}
  {#- Without a catalogue, which items are told at all costs as much as their counts. -#}
  {{ return(half if given['items'] else half / 2) }}
{% endmacro %}

{#-
  Noisy number of a day's users below which an item is kept back. An item of one user passes it with a chance of
  exp(-(threshold - 1) epsilon / k) / 2 at most, and a user can have k of them: together delta.
-#}
{% macro item_threshold() %}
  {%- set given = privacy() -%}
  {{ return('cast(ceil(1 + ' ~ given.events ~ ' / ' ~ epsilon_of('item_keys') ~ ' * ln(' ~ given.events ~ ' / (2 * ' ~ given.delta ~ '))) as bigint)') }}
{% endmacro %}

{#- SQL of a cell's noise. -#}
{% macro noise(release, cell) %}
  {{- return('cast(scalespace_discrete_laplace(' ~ text(privacy().events) ~ ', ' ~ text(epsilon_of(release)) ~ ', cast(' ~ cell ~ ' as varchar)) as bigint)') -}}
{% endmacro %}

{#- What a model of the population follows: the released days where there are any, else whom an event touched. -#}
{% macro population_updates(exact) %}
  {{ return({'whole_when_other': 'privacy_ledger'} if releases_privately() else exact) }}
{% endmacro %}

{#- Noise can take a count below 0, and what is published of it need not be: this costs no privacy. -#}
{% macro not_below_zero(counts) %}
  {{- return('list_transform(' ~ counts ~ ', lambda each: greatest(each, 0))' if releases_privately() else counts) -}}
{% endmacro %}
