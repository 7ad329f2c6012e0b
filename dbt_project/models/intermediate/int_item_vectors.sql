-- Grain: one item with a vector. A table of vectors holds at every instant; a text from its first event on.
{{ config(
    enabled=(setting('item_vectors') or setting('item_text')) is not none,
    materialized='table') }}

{% if setting('item_text') is not none -%}
with texts as (
    select *, row_number() over (order by item_id) as place
    from {{ ref('int_item_texts') }}
),

-- All at once: a sentence model reads many texts in hardly more time than a few.
embedded as (
    select from_json(
        scalespace_embed_texts({{ text(home()) if execute else 'null' }}, cast(to_json(coalesce(list(item_text order by place), [])) as varchar)),
        '["DOUBLE[]"]'
    ) as vectors
    from texts
)

select item_id, event_timestamp, vectors[place] as item_vector
from texts
cross join embedded
{%- else -%}
select
    cast(item as varchar) as item_id,
    timestamp '1970-01-01' as event_timestamp,
    cast(vector as double[]) as item_vector
from {{ item_vectors_reader() }}
where item is not null and vector is not null
{%- endif %}
