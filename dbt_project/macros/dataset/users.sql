{#- Identifiers that no file may hold, and users whose events are not read: see the plugin's scalespace_users. -#}

{#- Whether `hash_user_ids: true` stands in the dataset file. -#}
{% macro hashes_user_ids() %}
  {{ return(setting('hash_user_ids', false)) }}
{% endmacro %}

{#- Whether this is the column of the log that columns.user_id names. -#}
{% macro is_user_column(name) %}
  {{ return(name | lower == setting('columns').user_id | string | lower) }}
{% endmacro %}

{% macro check_user_ids() %}
  {%- set given = setting('hash_user_ids', false) -%}
  {%- if given is not boolean -%}
    {{ bad_input('dataset ' ~ setting('dataset') ~ ": hash_user_ids is '" ~ given ~ "': write true or false") }}
  {%- endif -%}
  {%- if given and setting('columns').user_id is mapping -%}
    {{ bad_input('dataset ' ~ setting('dataset') ~ ': hash_user_ids needs a plain column as columns.user_id: what an expression is made of would be kept as it is') }}
  {%- endif -%}
  {#- Not by env_var(): dbt keeps the values that it reads so in a file. -#}
  {%- if given and execute -%}
    {%- set problem = step('salt_problem', ['']) -%}
    {%- if problem -%}{{ bad_input('dataset ' ~ setting('dataset') ~ ': ' ~ problem) }}{%- endif -%}
  {%- endif -%}
{% endmacro %}

{#- SQL that says whether a row is of a forgotten user; empty where nobody was forgotten. -#}
{% macro is_forgotten(user) %}
  {%- if is_streaming() -%}
    {#- Who is forgotten while a stream runs, or after it was compiled, counts from its next start on. -#}
    {%- set list = streaming_relation('forgotten') -%}
    {{ return('sha256((select min(salt) from ' ~ list ~ ') || cast(' ~ user ~ ' as varchar)) in (select hash from ' ~ list ~ ')') }}
  {%- endif -%}
  {%- set kept = fromjson(step('forgotten_users', [home()])) -%}
  {{ return(sha256_of('concat(' ~ text(kept.salt) ~ ', cast(' ~ user ~ ' as string))') ~ ' in ' ~ text_list(kept.hashes) if kept.hashes else '') }}
{% endmacro %}
