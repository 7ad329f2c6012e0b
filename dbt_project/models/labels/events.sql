-- Grain: one accepted event, by its place in its user's total order.
{{ config(meta={'keys': ['user_id', 'event_position'], 'update_by': 'user'}) }}
{%- do declare_columns([
    column('event_position', 'bigint', 'Place in the user\'s total order, from 1.'),
    column('event_id', 'varchar', 'Unique per event; derived from the whole row where the log has none.'),
    column('action_type', 'varchar', 'What the user did.'),
    column('item_id', 'varchar', 'On what; null where unknown.'),
    column('category_id', 'varchar', 'Of which kind; null where unknown.'),
    column('location', 'varchar', 'Where; null where unknown.'),
    column('duration_ms', 'bigint', 'How long it lasted in milliseconds; null where unknown.'),
    column('gap_ms', 'bigint', 'Whole milliseconds since the user\'s event before; 0 inside one instant, null for the first.'),
    column('hour', 'bigint', 'UTC hour, 0 to 23.'),
]) -%}
{%- for name in measures() -%}
  {%- do declare_columns([column(name, 'double', 'The measure ' ~ name ~ ' of the event; null where unknown.')]) -%}
{%- endfor %}

select
    user_id,
    event_timestamp,
    event_position,
    event_id,
    action_type,
    item_id,
    category_id,
    location,
    duration_ms,
    event_gap_ms as gap_ms,
    hour
    {%- for name, decimals in measures().items() %},
    cast({{ measure_column(name) }} as double) / {{ 10 ** decimals }} as {{ identifier(name) }}
    {%- endfor %}
from {{ touched_instants(ref('int_events')) }}
