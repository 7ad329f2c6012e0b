{#- What the dataset says of its items: a table of vectors, or a text of the log. -#}

{% macro item_vectors_reader() %}
  {%- if not execute -%}{{ return('item_vectors') }}{%- endif -%}
  {%- set path = step('resolve_path', [setting('item_vectors')]) -%}
  {{ return('read_parquet(' ~ text(path) ~ ')') }}
{% endmacro %}

{% macro check_item_content() %}
  {%- set file = 'dataset ' ~ setting('dataset', 'shop') -%}
  {%- if setting('item_vectors') is not none or setting('item_text') is not none -%}
    {%- if setting('item_vectors') is not none and setting('item_text') is not none -%}
      {{ bad_input(file ~ ': item_vectors and item_text both say what items are like: leave one out') }}
    {%- endif -%}
    {%- if 'item_id' not in setting('columns') -%}
      {{ bad_input(file ~ ': item_vectors and item_text are of items: map columns.item_id') }}
    {%- endif -%}
  {%- endif -%}
  {%- if execute and setting('item_vectors') is not none -%}
    {%- set path = step('resolve_path', [setting('item_vectors')]) -%}
    {%- set problem = step('problem_with_vectors', [path]) -%}
    {%- if problem -%}{{ bad_input(problem) }}{%- endif -%}
  {%- endif -%}
  {%- if execute and setting('item_text') is not none -%}
    {%- set problem = step('problem_with_text_model', [home()]) -%}
    {%- if problem -%}{{ bad_input(file ~ ': ' ~ problem) }}{%- endif -%}
  {%- endif -%}
{% endmacro %}
