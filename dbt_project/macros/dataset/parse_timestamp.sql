{#-
  SQL that turns a value of the log into its instant, as TIMESTAMP in UTC with microseconds; null where
  it is none. `type` is the value's type in the log.

  Text with an offset names an instant. Text without one, and a TIMESTAMP without a zone, is a reading of
  the clock in the dataset's source_timezone. Numbers, and text that is a number, need `timestamp_unit`.
  Instants outside the years 1 to 9999 are none: DuckDB has them, but nothing that reads its files does.
-#}
{% macro parse_timestamp(value, type, what) %}
  {%- set unit = setting('timestamp_unit') -%}
  {%- set zone = text(setting('source_timezone', 'UTC')) -%}
  {%- set epoch = 'null' -%}
  {%- if unit -%}
    {%- set factor = {'s': 1000000, 'ms': 1000, 'us': 1}[unit] -%}
    {%- set number = 'try_cast(' ~ value ~ ' as decimal(38, 6))' -%}
    {#- Half the range of TIMESTAMP: a number outside is no time of any log, and make_timestamp would fail on it. -#}
    {%- set epoch = 'case when abs(' ~ number ~ ') < 9e18 / ' ~ factor ~ ' then make_timestamp(cast(floor(' ~ number ~ ' * ' ~ factor ~ ') as bigint)) end' -%}
    {%- set epoch = if_possible(epoch) -%}
  {%- endif -%}
  {%- if type == 'VARCHAR' -%}
    {%- set trimmed = "regexp_replace(trim(" ~ value ~ "), '\\s*(UTC|GMT|[zZ])$', '+00')" -%}
    {#- An offset can only follow a time of day: the -02 of 2020-01-02 is a day. A space before it is git's way. -#}
    {%- set offset = "(:\\d{2}(\\.\\d+)?)\\s*([+-]\\d{2}(:?\\d{2}(:?\\d{2})?)?)$" -%}
    {%- set parsed -%}
      case when regexp_matches({{ trimmed }}, {{ text(offset) }})
        then timezone('UTC', try_cast(regexp_replace({{ trimmed }}, {{ text(offset) }}, '\1\3') as timestamptz))
        else timezone('UTC', timezone({{ zone }}, try_cast({{ trimmed }} as timestamp))) end
    {%- endset -%}
    {%- set text_instant = if_possible(parsed) -%}
    {{ return('coalesce(' ~ epoch ~ ', ' ~ text_instant ~ ')' if unit else text_instant) }}
  {%- elif type == 'TIMESTAMP WITH TIME ZONE' -%}
    {{ return(if_possible('timezone(' ~ text('UTC') ~ ', ' ~ value ~ ')')) }}
  {%- elif type.startswith('TIMESTAMP') or type == 'DATE' -%}
    {%- set naive = 'cast(' ~ value ~ ' as timestamp)' -%}
    {{ return(if_possible('timezone(' ~ text('UTC') ~ ', timezone(' ~ zone ~ ', ' ~ naive ~ '))')) }}
  {%- elif unit -%}
    {{ return(epoch) }}
  {%- endif -%}
  {{ bad_input(setting('events_path') ~ ': ' ~ what ~ ' holds ' ~ type ~ ' and no time: if it is an epoch, set timestamp_unit to s, ms or us') }}
{% endmacro %}

{#- Infinity is none either. -#}
{% macro if_possible(instant) %}
  {{- return('case when ' ~ instant ~ " between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then " ~ instant ~ ' end') -}}
{% endmacro %}
