{#-
  Many small counters in few columns, 31 bits each (see counter_packing). A running sum, a difference or a column of a join
  costs the same whatever it holds, and a transition matrix or a histogram has dozens. Sums and differences of packed
  counters are those of each counter: no counter of a user reaches 2 ** 31, and what a window leaves behind is never
  more than what there is now, so that none runs into its neighbour or borrows from it.
-#}

{#- {name, type} of the columns that hold `counters` counters. -#}
{% macro packed_columns(name, counters) %}
  {%- set packing = counter_packing() -%}
  {%- set columns = [] -%}
  {%- for first in range(0, counters, packing.counters) -%}
    {%- do columns.append({'name': name ~ '_' ~ first, 'type': packing.type}) -%}
  {%- endfor -%}
  {{ return(columns) }}
{% endmacro %}

{#- The columns' increments over a group of rows: 1 for the counter number `index`, an expression from 0; nothing where it is null. -#}
{% macro packed_increments(name, counters, index) %}
    {%- set packing = counter_packing() -%}
    {%- for first in range(0, counters, packing.counters) %}
    coalesce(sum(case when {{ index }} between {{ first }} and {{ first + packing.counters - 1 }} then {{ one_shifted(packing.type, '31 * (' ~ index ~ ' - ' ~ first ~ ')') }} end), 0) as {{ name }}_{{ first }}{{ ',' if not loop.last }}
    {%- endfor %}
{% endmacro %}

{#- One counter, as a BIGINT. -#}
{% macro unpacked(name, counter) %}
  {%- set together = counter_packing().counters -%}
  {{- return('cast(' ~ shifted_back(name ~ '_' ~ counter // together * together, 31 * (counter % together)) ~ ' & 2147483647 as bigint)') -}}
{% endmacro %}

{#- All counters, or some of them, as a list of expressions. -#}
{% macro all_unpacked(name, counters) %}
  {%- set found = [] -%}
  {%- for counter in range(counters) -%}{%- do found.append(unpacked(name, counter)) -%}{%- endfor -%}
  {{ return(found) }}
{% endmacro %}
