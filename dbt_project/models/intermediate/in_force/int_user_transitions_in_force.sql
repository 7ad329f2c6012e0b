-- Grain: one user and scale. In a stream alone: the row in force of each view of the family.
{{ config(enabled=is_streaming(), materialized='table', meta={'update_by': 'user'}) }}
{#- What is not enabled is rendered all the same. #}
{%- if is_streaming() %}

{{ user_transitions_rows('each') }}
{%- endif %}
