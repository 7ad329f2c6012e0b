{#-
  Rows that are too wide to be sorted at once, as the last 50 events of each instant are: a model that reads its events
  through of_part() is written for some users after the others, and the parts' row groups make one file. What a part
  needs does not grow with the log, but for one user with more events than a part has.
-#}
{% macro of_part(relation) %}
  {{- return('(select * from ' ~ relation ~ ' where ' ~ any_user() ~ ')') -}}
{% endmacro %}

{#- Stands where the condition of a part comes; it holds for every user. -#}
{% macro any_user() %}
  {{- return('/* any user */ true') -}}
{% endmacro %}

{#- SQL conditions, each true for the users of one part, in their order; none where all users are one part. -#}
{% macro user_parts(sql) %}
  {%- if any_user() not in sql -%}{{ return([]) }}{%- endif -%}
  {#- Half a million events: 3 GB of sequences at 50 events each, which sort in a gigabyte of memory and a spill file. -#}
  {#- As bytes: a user's name can hold what no text of SQL can. -#}
  {%- set lasts = run_query(
      'with users as (select user_id, sum(count(*)) over (order by user_id) as events from ' ~ ref('int_events') ~ ' group by user_id)'
      ~ ' select hex(encode(max(user_id))) as last_user from users group by (events - 1) // 500000 order by max(user_id)').columns[0].values() -%}
  {%- if lasts | length < 2 -%}{{ return([]) }}{%- endif -%}
  {%- set parts = [] -%}
  {%- for last in lasts -%}
    {%- set bounds = [] -%}
    {%- if not loop.first -%}{%- do bounds.append("user_id > decode(unhex('" ~ lasts[loop.index0 - 1] ~ "'))") -%}{%- endif -%}
    {%- if not loop.last -%}{%- do bounds.append("user_id <= decode(unhex('" ~ last ~ "'))") -%}{%- endif -%}
    {%- do parts.append(bounds | join(' and ')) -%}
  {%- endfor -%}
  {{ return(parts) }}
{% endmacro %}
