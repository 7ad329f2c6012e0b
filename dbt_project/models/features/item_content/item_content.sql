-- Grain: one item of which it is known what it is like.
{{ config(
    enabled=(setting('item_vectors') or setting('item_text')) is not none,
    meta={'publish': 'features', 'entity': 'item', 'family': 'item_content', 'whole_when_other': 'int_item_vectors',
          'description': 'One row per item whose content is known: a vector of numbers, of a text, a picture, or whatever the dataset brings.'}) }}
{%- do declare_columns([
    column('item_vector', 'double[]', 'What the item is like; as many numbers for each. An item without a row is unknown, and not 0.'),
], entity='item') %}

select
    vectors.item_id,
    vectors.event_timestamp,
    vectors.item_vector,
    {{ computed_at() }} as computed_at
from {{ ref('int_item_vectors') }} as vectors
-- The log's clock, by which rows say when they were computed, is that of its events.
-- depends_on: {{ ref('int_events') }}
