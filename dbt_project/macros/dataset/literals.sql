{% macro text_list(values) %}
  {%- set quoted = [] -%}
  {%- for value in values -%}{%- do quoted.append(text(value)) -%}{%- endfor -%}
  {{ return('(' ~ (quoted | join(', ') if quoted else 'null') ~ ')') }}
{% endmacro %}

{#- '90m', '1h', '7d', '2w' in microseconds; 'all' is none. -#}
{% macro duration_us(name) %}
  {%- if name == 'all' -%}{{ return(none) }}{%- endif -%}
  {%- set found = modules.re.fullmatch('([1-9][0-9]*)([smhdw])', name | string) -%}
  {%- if not found -%}
    {{ bad_input("'" ~ name ~ "' is no duration: write a number and s, m, h, d or w, as in 90m, 1h, 7d, 2w") }}
  {%- endif -%}
  {%- set unit = {'s': 1, 'm': 60, 'h': 3600, 'd': 86400, 'w': 604800}[found.group(2)] -%}
  {{ return((found.group(1) | int) * unit * 1000000) }}
{% endmacro %}

{#- One line that the user can act on. `trainer build` looks for its first word. -#}
{% macro bad_input(message) %}
  {{ exceptions.raise_compiler_error('scalespace: ' ~ message) }}
{% endmacro %}
