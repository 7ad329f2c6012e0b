{# The last value that is not null, as an aggregate for a window over growing rows.

Not last_value(... ignore nulls): over rows without a value that goes back to the first one from each of them, which
costs the square of a user's history.

value: SQL.
order: SQL, ascending and unique in the window.
#}
{% macro last_known(value, order) -%}
    arg_max({{ value }}, {{ order }})
{%- endmacro %}
