{#-
  Do a step of a build that SQL has no words for: a Python function of plugins/, by its name. Every one takes and returns
  text.
-#}
{% macro step(name, arguments) %}
  {{- return(adapter.dispatch('step', 'scalespace')(name, arguments)) -}}
{% endmacro %}

{#- The functions are registered on the connection: see scalespace_files.py. -#}
{% macro default__step(name, arguments) %}
  {%- set given = [] -%}
  {%- for argument in arguments -%}{%- do given.append(text(argument)) -%}{%- endfor -%}
  {{- return(run_query('select scalespace_' ~ name ~ '(' ~ given | join(', ') ~ ')').rows[0][0]) -}}
{% endmacro %}

{#- The driver has no such functions, but it can send a row through a program: see scalespace_spark.py. -#}
{% macro spark__step(name, arguments) %}
  {%- set request = tojson({'step': name, 'arguments': arguments}) -%}
  {%- set answer = run_query(
      'select cast(unhex(answer) as string) from (select transform(hex(cast(' ~ text(request) ~ ' as binary))) using '
      ~ text(spark_program('scalespace_spark.py')) ~ ' as (answer string))').rows[0][0] -%}
  {{- return(answer) -}}
{% endmacro %}

{#- The command that runs a plugin: with the Python beside the pyspark that runs the build, where it lies in an environment. -#}
{% macro spark_program(name) %}
  {{- return('python="$SPARK_HOME/../../../../bin/python3"; [ -x "$python" ] || python="${PYSPARK_PYTHON:-python3}"; exec "$python" "' ~ spark_absolute(flags.PROFILES_DIR) ~ '/plugins/' ~ name ~ '"') -}}
{% endmacro %}
