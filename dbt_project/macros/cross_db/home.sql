{#- The folder of the run, absolute; made where it is missing. Asked for once a command, in a mapping that all its models share. -#}
{% macro home() %}
  {%- if 'home' not in graph -%}{%- do graph.update({'home': adapter.dispatch('home', 'scalespace')()}) -%}{%- endif -%}
  {{- return(graph['home']) -}}
{% endmacro %}

{% macro default__home() %}
  {{- return(step('prepare', [target.path])) -}}
{% endmacro %}

{#- Named in profiles.yml, as a setting of the session; made by prepare_state. -#}
{% macro spark__home() %}
  {{- return(spark_absolute(run_query('set spark.scalespace.home').rows[0][1])) -}}
{% endmacro %}

{#- A path from the folder that dbt runs in: steps run in one of Spark's own. -#}
{% macro spark_absolute(path) %}
  {%- if path.startswith('/') -%}{{ return(path) }}{%- endif -%}
  {{- return(run_query("select java_method('java.lang.System', 'getProperty', 'user.dir')").rows[0][0] ~ '/' ~ path) -}}
{% endmacro %}
