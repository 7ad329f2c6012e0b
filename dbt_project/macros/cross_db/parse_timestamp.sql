{#-
  SQL that turns a value of the log into its instant, as TIMESTAMP in UTC with microseconds; null where
  it is none. `type` is the value's type in the log.

  Text with an offset names an instant. Text without one, and a TIMESTAMP without a zone, is a reading of
  the clock in the dataset's source_timezone. Numbers, and text that is a number, need `timestamp_unit`.
  Instants outside the years 1 to 9999 are none: engines have them, but nothing that reads their files does.
-#}
{% macro parse_timestamp(value, type, what) %}
  {{- return(adapter.dispatch('parse_timestamp', 'scalespace')(value, type, what)) -}}
{% endmacro %}

{% macro default__parse_timestamp(value, type, what) %}
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
  {{ refuse_no_time(type, what) }}
{% endmacro %}

{#-
  The same readings, told apart by patterns: its own casts take a time without a day for one of today, and a year for its
  first instant.
-#}
{% macro spark__parse_timestamp(value, type, what) %}
  {%- set unit = setting('timestamp_unit') -%}
  {%- set zone = text(setting('source_timezone', 'UTC')) -%}
  {%- set factor = {'s': 1000000, 'ms': 1000, 'us': 1}[unit or 'us'] -%}
  {%- set number = 'try_cast(' ~ value ~ ' as decimal(38, 6))' -%}
  {%- set epoch = if_possible('case when abs(' ~ number ~ ') < 9e18 / ' ~ factor ~ ' then timestamp_micros(cast(floor(' ~ number ~ ' * ' ~ factor ~ ') as bigint)) end') -%}
  {%- if type == 'string' -%}
    {%- set trimmed = 'regexp_replace(trim(' ~ value ~ '), ' ~ text('\\s*(UTC|GMT|[zZ])\\z') ~ ", '+00')" -%}
    {%- set day = '([0-9]{1,4})([-/ \\\\])([0-9]{1,2})\\2([0-9]{1,2})' -%}
    {%- set time = '(?:T| +)([0-9]{1,2}):([0-9]{1,2})(?::([0-9]{1,2})(?:\\.([0-9]*))?)?' -%}
    {#- Behind a reading of the clock DuckDB passes over the name of a zone. -#}
    {%- set naive = '\\A' ~ day ~ '(?:' ~ time ~ '(?: +[A-Za-z_/+-]*| *))?\\z' -%}
    {#- An offset can only follow a time of day with seconds. -#}
    {%- set instant = '\\A' ~ day ~ time ~ '\\s*([+-])([0-9]{2})(?::?([0-9]{2}))?(?:(?<=:[0-9]{2}):([0-9]{2}))?\\z' -%}
    {%- set has_offset = 'regexp_like(' ~ trimmed ~ ', ' ~ text(':[0-9]{2}(\\.[0-9]+)?\\s*[+-][0-9]{2}(:?[0-9]{2}(:?[0-9]{2})?)?\\z') ~ ')' -%}
    {%- set offset = "(case when " ~ spark_group(trimmed, instant, 9) ~ " = '-' then 1 else -1 end * (" ~ spark_number(trimmed, instant, 10) ~ ' * 3600 + ' ~ spark_number(trimmed, instant, 11) ~ ' * 60 + ' ~ spark_number(trimmed, instant, 12) ~ ') * 1000000)' -%}
    {%- set parsed -%}
      case when {{ has_offset }}
        then {{ add_us(spark_clock_reading(trimmed, instant), offset) }}
        else {{ spark_instant_of_clock(spark_clock_reading(trimmed, naive), zone) }} end
    {%- endset -%}
    {{ return('coalesce(' ~ epoch ~ ', ' ~ if_possible(parsed) ~ ')' if unit else if_possible(parsed)) }}
  {%- elif type == 'timestamp' -%}
    {{ return(if_possible(value)) }}
  {%- elif type in ['timestamp_ntz', 'date'] -%}
    {{ return(if_possible(spark_instant_of_clock('cast(' ~ value ~ ' as timestamp)', zone))) }}
  {%- elif unit -%}
    {{ return(epoch) }}
  {%- endif -%}
  {{ refuse_no_time(type, what) }}
{% endmacro %}

{% macro spark_group(value, pattern, group) %}
  {{- return('regexp_extract(' ~ value ~ ', ' ~ text(pattern) ~ ', ' ~ group ~ ')') -}}
{% endmacro %}

{#- A group as a number; 0 where it is missing. -#}
{% macro spark_number(value, pattern, group) %}
  {{- return("cast(concat('0', " ~ spark_group(value, pattern, group) ~ ') as bigint)') -}}
{% endmacro %}

{#- What the first groups of a pattern say (year, mark, month, day, hour, minute, second, fraction), as if it were UTC; null where that is none. -#}
{% macro spark_clock_reading(value, pattern) %}
  {%- set hour, minute, second = spark_number(value, pattern, 5), spark_number(value, pattern, 6), spark_number(value, pattern, 7) -%}
  {%- set fraction = "cast(rpad(substr(" ~ spark_group(value, pattern, 8) ~ ", 1, 6), 6, '0') as bigint)" -%}
  {%- set day = "try_cast(concat_ws('-', lpad(" ~ spark_group(value, pattern, 1) ~ ", 4, '0'), lpad(" ~ spark_group(value, pattern, 3) ~ ", 2, '0'), lpad(" ~ spark_group(value, pattern, 4) ~ ", 2, '0')) as date)" -%}
  {#- 24:00 is the next midnight. -#}
  {%- set of_day = '(' ~ hour ~ ' * 3600 + ' ~ minute ~ ' * 60 + ' ~ second ~ ') * 1000000 + ' ~ fraction -%}
  {{- return('case when regexp_like(' ~ value ~ ', ' ~ text(pattern) ~ ') and ' ~ minute ~ ' < 60 and ' ~ second ~ ' < 60 and ' ~ of_day ~ ' <= 86400000000 then '
      ~ 'timestamp_micros(unix_date(' ~ day ~ ') * 86400000000 + ' ~ of_day ~ ') end') -}}
{% endmacro %}

{#- A reading of the clock in a zone as an instant; the hour that a clock change repeats is in standard time, the later of the two. -#}
{% macro spark_instant_of_clock(reading, zone) %}
  {%- if zone == "'UTC'" -%}{{ return(reading) }}{%- endif -%}
  {%- set first = 'to_utc_timestamp(' ~ reading ~ ', ' ~ zone ~ ')' -%}
  {{- return('case when from_utc_timestamp(' ~ first ~ ' + interval 1 hour, ' ~ zone ~ ') = ' ~ reading ~ ' then ' ~ first ~ ' + interval 1 hour else ' ~ first ~ ' end') -}}
{% endmacro %}

{% macro refuse_no_time(type, what) %}
  {{ bad_input(setting('events_path') ~ ': ' ~ what ~ ' holds ' ~ type ~ ' and no time: if it is an epoch, set timestamp_unit to s, ms or us') }}
{% endmacro %}

{#- Infinity is none either. -#}
{% macro if_possible(instant) %}
  {{- return('case when ' ~ instant ~ " between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then " ~ instant ~ ' end') -}}
{% endmacro %}
