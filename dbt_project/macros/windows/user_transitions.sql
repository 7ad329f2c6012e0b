{#- The model user_transitions_<scale>, whole: its contract and its rows. -#}
{% macro user_transitions(scale) %}
  {{ config(
      meta={'publish': 'features', 'entity': 'user', 'family': 'user_transitions', 'scale': scale, 'update_by': 'user', 'sorts_narrow': true,
            'description': 'One row per user and instant at which transitions in the last ' ~ scale ~ ', or the state now, can change.'}) }}
  {%- set span = window_span(scale) -%}
  {%- set columns = [
      column('transition_counts_' ~ scale, 'bigint[]', 'Transitions a to b whose second state lies ' ~ span ~ ': row-major over the actions in their declared order, then leave.'),
      column('transition_total_' ~ scale, 'bigint', 'Transitions ' ~ span ~ '.'),
      column('next_probabilities_' ~ scale, 'double[]', 'Smoothed row of the state now: (count + prior / states) / (row total + prior).'),
      column('transition_entropy_' ~ scale, 'double', 'Entropy of that row in nats.'),
    ] -%}
  {%- do declare_columns(columns) -%}
  {%- if is_streaming() %}
{{ select_in_force(ref('int_user_transitions_in_force'), scale, columns) }}
  {%- else %}
{{ user_transitions_rows(scale) }}
  {%- endif %}
{% endmacro %}

{#- Its rows; in a stream those of each scale. -#}
{% macro user_transitions_rows(scale) %}
  {%- set size = states() | length %}

with {{ totals_in_reach(ref('int_transition_totals'), scale) | trim }}window_totals as (
    {%- call window_steps(totals_of(ref('int_transition_totals')), scale, family='user_transitions') %}
        now.state_index as state_index,
        {%- if transitions_are_packed() %}
        {%- for packed in packed_columns('transitions', transition_cells()) %}
        {{ window_difference(packed.name, scale) }} as {{ packed.name }}{{ ',' if not loop.last }}
        {%- endfor %}
        {%- else %}
        {{ window_list_difference('transition_counts', scale) }} as counts
        {%- endif %}
    {%- endcall %}
),

counted as (
    select
        user_id,
        {{ 'scale,' if is_streaming() }}
        event_timestamp,
        state_index,
        {{ list_of(all_unpacked('transitions', transition_cells())) if transitions_are_packed() else 'counts' }} as counts
    from {{ in_file_order('window_totals') }}
),

rows_now as (
    select *, {{ list_part('counts', 'state_index * ' ~ size, size) }} as row_counts
    from counted
),

row_totals as (
    select *, {{ list_total('row_counts', 'bigint') }} as row_total
    from rows_now
),

smoothed as (
    select
        *,
        {{ smoothed_row('row_counts', 'row_total') }} as probabilities
    from row_totals
)

select
    user_id,
    {{ 'scale,' if is_streaming() }}
    event_timestamp,
    counts as transition_counts_{{ scale }},
    cast({{ list_total('counts', 'bigint') }} as bigint) as transition_total_{{ scale }},
    probabilities as next_probabilities_{{ scale }},
    -{{ list_total(list_each('probabilities', 'p', 'p * ln(p)'), 'double') }} as transition_entropy_{{ scale }},
    {{ computed_at() }} as computed_at
from smoothed
{% endmacro %}


{#- Cells of the transition matrix. -#}
{% macro transition_cells() %}
  {{ return((states() | length) ** 2) }}
{% endmacro %}

{#- Few enough cells for a counter of each at every instant; of a wide taxonomy most cells are 0 for ever. -#}
{% macro transitions_are_packed() %}
  {{ return(transition_cells() <= 64) }}
{% endmacro %}
