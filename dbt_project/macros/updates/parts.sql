{#-
  Rows that are too many, or too wide, to be sorted at once: a model that reads its users' rows through of_part() is
  written for some users after the others, and the parts' row groups make one file. What a part needs does not grow with
  the log, but for one user with more events than a part has; so ten times the events cost ten times the time, where
  sorts and joins of all users at once spill.
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
  {%- set events = events_of_a_part() -%}
  {#- Not by ref(): not all that are written in parts read it, but it comes before all of them. -#}
  {%- set log = api.Relation.create(database=target.database, schema=target.schema, identifier='int_events') -%}
  {%- if run_query('select count(*) from ' ~ log).rows[0][0] <= events -%}{{ return([]) }}{%- endif -%}
  {#- As bytes: a user's name can hold what no text of SQL can. -#}
  {%- set lasts = run_query(
      'with users as (select user_id, sum(count(*)) over (order by user_id) as events from ' ~ log ~ ' group by user_id)'
      ~ ' select hex(encode(max(user_id))) as last_user from users group by (events - 1) // ' ~ events ~ ' order by max(user_id)').columns[0].values() -%}
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

{#- As many as have four million steps of a window, which sort in a gigabyte; meta.events_of_a_part where rows are wider. -#}
{% macro events_of_a_part() %}
  {{- return(model.config.meta.get('events_of_a_part', 2000000)) -}}
{% endmacro %}
