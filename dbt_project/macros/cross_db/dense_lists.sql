{#-
  A query: for each user and instant of a relation, one list of `length` counts, made of its rows (place from 0, count); 0
  where there is none. Columns user_id, event_timestamp, counts.
-#}
{% macro dense_lists(relation, place, count, length) %}
  {{- return(adapter.dispatch('dense_lists', 'scalespace')(relation, place, count, length)) -}}
{% endmacro %}

{% macro default__dense_lists(relation, place, count, length) %}
  {%- set sql %}
    select
        user_id,
        event_timestamp,
        -- Zeros up to the last cell.
        list_resize(
            flatten(list(list_append(repeat([cast(0 as bigint)], zeros_before), {{ count }}) order by {{ place }})),
            {{ length }}, cast(0 as bigint)
        ) as counts
    from (
        select
            *,
            {{ place }} - coalesce(lag({{ place }}) over (partition by user_id, event_timestamp order by {{ place }}), -1) - 1 as zeros_before
        from {{ relation }}
    )
    group by user_id, event_timestamp
  {%- endset -%}
  {{- return(sql) -}}
{% endmacro %}

{% macro spark__dense_lists(relation, place, count, length) %}
  {%- set sql %}
    select
        user_id,
        event_timestamp,
        transform(sequence(0, {{ length - 1 }}), cell -> coalesce(element_at(made, cell), 0)) as counts
    from (
        select user_id, event_timestamp, map_from_entries(collect_list(struct(cast({{ place }} as int), {{ count }}))) as made
        from {{ relation }}
        group by user_id, event_timestamp
    )
  {%- endset -%}
  {{- return(sql) -}}
{% endmacro %}
