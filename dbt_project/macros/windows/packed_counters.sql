{#-
  Many small counters in few columns: four to a HUGEINT, 31 bits each. A running sum, a difference or a column of a join
  costs the same whatever it holds, and a transition matrix or a histogram has dozens. Sums and differences of packed
  counters are those of each counter: no counter of a user reaches 2 ** 31, and what a window leaves behind is never
  more than what there is now, so that none runs into its neighbour or borrows from it.
-#}

{#- {name, type} of the columns that hold `counters` counters. -#}
{% macro packed_columns(name, counters) %}
  {%- set columns = [] -%}
  {%- for first in range(0, counters, 4) -%}
    {%- do columns.append({'name': name ~ '_' ~ first, 'type': 'hugeint'}) -%}
  {%- endfor -%}
  {{ return(columns) }}
{% endmacro %}

{#- The columns' increments over a group of rows: 1 for the counter number `index`, an expression from 0; nothing where it is null. -#}
{% macro packed_increments(name, counters, index) %}
    {%- for first in range(0, counters, 4) %}
    coalesce(sum(case when {{ index }} between {{ first }} and {{ first + 3 }} then cast(1 as hugeint) << (31 * ({{ index }} - {{ first }})) end), 0) as {{ name }}_{{ first }}{{ ',' if not loop.last }}
    {%- endfor %}
{% endmacro %}

{#- One counter, as a BIGINT. -#}
{% macro unpacked(name, counter) %}
  {{- return('cast((' ~ name ~ '_' ~ (counter // 4 * 4) ~ ' >> ' ~ 31 * (counter % 4) ~ ') & 2147483647 as bigint)') -}}
{% endmacro %}

{#- All counters, or some of them, as a list of expressions. -#}
{% macro all_unpacked(name, counters) %}
  {%- set found = [] -%}
  {%- for counter in range(counters) -%}{%- do found.append(unpacked(name, counter)) -%}{%- endfor -%}
  {{ return(found) }}
{% endmacro %}
