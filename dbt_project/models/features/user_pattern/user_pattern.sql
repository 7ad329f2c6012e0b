-- Grain: one instant of one user at which his activity changes.
{{ config(meta={'family': 'user_pattern', 'update_by': 'user', 'update_rows': 'tail', 'whole_when_other': 'int_patterns'}) }}
{%- set scale = pattern_scale() %}
{%- do declare_columns([
    column('pattern', 'bigint', 'Number of the pattern whose center is nearest, from 1, the largest first; 0 for a user without an event in the last ' ~ scale ~ '; null where no pattern could be fitted.'),
    column('pattern_label', 'varchar', 'What distinguishes the pattern, as in: high purchase_share, low gap_ms_mean; inactive for 0.'),
    column('pattern_distance', 'double', 'Euclidean distance to its center, in deviations; null for 0.'),
  ]) %}
{%- set point = [] -%}
{%- for feature in pattern_features(scale) -%}
  {%- do point.append('coalesce((' ~ feature.sql ~ ' - ' ~ list_at('means', loop.index) ~ ') * ' ~ list_at('scales', loop.index) ~ ', 0)') -%}
{%- endfor %}

with patterns as (
    select
        {{ ordered_list('center', 'pattern') }} as centers,
        {{ ordered_list('pattern_label', 'pattern') }} as labels,
        any_value(means) as means,
        any_value(scales) as scales
    from {{ ref('int_patterns') }}
),

-- Where a user stands, measured as the sample was.
points as (
    select
        user_id,
        event_timestamp,
        event_count_{{ scale }} > 0 as is_active,
        {{ list_of(point) }} as point,
        centers,
        labels
    from {{ touched_instants(ref('user_activity_' ~ scale)) }}
    cross join patterns
),

measured as (
    select
        user_id,
        event_timestamp,
        is_active,
        labels,
        case when is_active then {{ list_each('centers', 'center', list_distance('center', 'point')) }} end as distances
    from points
),

nearest as (
    select
        *,
        -- The first of those that are nearest.
        cast(case when is_active then {{ list_place('distances', list_least('distances')) }} else 0 end as bigint) as pattern
    from measured
)

select
    user_id,
    event_timestamp,
    pattern,
    case when is_active then {{ list_at('labels', 'pattern') }} else 'inactive' end as pattern_label,
    {{ list_least('distances') }} as pattern_distance,
    {{ computed_at() }} as computed_at
from nearest
