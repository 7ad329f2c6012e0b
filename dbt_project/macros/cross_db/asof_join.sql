{#-
  `left asof join right`, for `from`: each row of the left relation with the right one's row of its key that lies last at
  or before an instant. Both are read by their names (`now.event_timestamp`).

  names: of the left and of the right relation. key: a column of both; in the right one, unique with event_timestamp.
  at: the instant, SQL over the left row. compared: which right rows count: '<=' those at or before it, '<' before it, '>'
  after it (then the first of them). outer: keep left rows that have none, with nulls.
-#}
{% macro asof_join(left, right, names, key, at, compared='<=', outer=false) %}
  {{- return(adapter.dispatch('asof_join', 'scalespace')(left, right, names, key, at, compared, outer)) -}}
{% endmacro %}

{% macro default__asof_join(left, right, names, key, at, compared, outer) %}
  {%- set turned = {'<=': '>=', '<': '>', '>': '<'}[compared] -%}
  {{- return(left ~ ' as ' ~ names[0] ~ '\n    asof ' ~ ('left ' if outer) ~ 'join ' ~ right ~ ' as ' ~ names[1]
      ~ '\n        on ' ~ names[0] ~ '.' ~ key ~ ' = ' ~ names[1] ~ '.' ~ key ~ ' and ' ~ at ~ ' ' ~ turned ~ ' ' ~ names[1] ~ '.event_timestamp') -}}
{% endmacro %}

{#-
  There is none. Both sides are sorted together along the key, and each left row takes the right one that was seen last: one
  shuffle and one sort, however many rows a key has, where a join by inequality would pair all of them.
-#}
{% macro spark__asof_join(left, right, names, key, at, compared, outer) %}
  {%- set direction = ' desc' if compared == '>' else '' -%}
  {#- At one instant a right row has been seen where it counts. -#}
  {%- set left_side, right_side = (1, 0) if compared == '<=' else (0, 1) -%}
  {%- set sql -%}
    (
        select left_row as {{ names[0] }}, right_row as {{ names[1] }}
        from (
            select
                left_row,
                last(right_row, true) over (
                    partition by key_of_both order by instant_of_both{{ direction }}, side rows unbounded preceding
                ) as right_row
            from (
                select {{ names[0] }}.{{ key }} as key_of_both, {{ at }} as instant_of_both, {{ left_side }} as side, struct({{ names[0] }}.*) as left_row, null as right_row
                from {{ left }} as {{ names[0] }}
                union all
                select {{ names[1] }}.{{ key }}, {{ names[1] }}.event_timestamp, {{ right_side }}, null, struct({{ names[1] }}.*)
                from {{ right }} as {{ names[1] }}
            )
        )
        where left_row is not null{{ ' and right_row is not null' if not outer }}
    )
  {%- endset -%}
  {{- return(sql | trim) -}}
{% endmacro %}
