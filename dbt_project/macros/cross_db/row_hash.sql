{#- A hash of a whole row of `log`: equal where the rows are, in every column. columns: {name: type}, in their order. -#}
{% macro row_hash(columns) %}
  {{- return(adapter.dispatch('row_hash', 'scalespace')(columns)) -}}
{% endmacro %}

{#- One text for one row: JSON tells null from the word and keeps the columns apart. -#}
{% macro default__row_hash(columns) %}
  {%- set members = [] -%}
  {%- for name in columns -%}{%- do members.append(identifier(name) ~ ' := log.' ~ identifier(name)) -%}{%- endfor -%}
  {{- return('md5(cast(to_json(struct_pack(' ~ members | join(', ') ~ ')) as varchar))') -}}
{% endmacro %}

{#- The same text, byte for byte: where a log has no ids, this is what an event is called. Its own to_json writes numbers and times in other ways. -#}
{% macro spark__row_hash(columns) %}
  {%- set members = [] -%}
  {%- for name, type in columns.items() -%}
    {%- set value = 'log.' ~ identifier(name) -%}
    {%- if type in ['boolean', 'tinyint', 'smallint', 'int', 'bigint', 'double', 'float'] or type.startswith('decimal') -%}
      {%- set json = 'coalesce(' ~ text_of(value, type) ~ ", 'null')" -%}
    {%- else -%}
      {%- set json = spark_json_text(value if type == 'string' else text_of(value, type)) -%}
    {%- endif -%}
    {%- do members.append(spark_json_text(text(name)) ~ ", ':', " ~ json) -%}
  {%- endfor -%}
  {{- return("md5(concat('{', " ~ members | join(", ',', ") ~ ", '}'))") -}}
{% endmacro %}

{#- A text as JSON has it: an array of one, without its brackets. -#}
{% macro spark_json_text(value) %}
  {{- return('regexp_extract(to_json(array(' ~ value ~ ")), '(?s)^.(.*).$', 1)") -}}
{% endmacro %}
