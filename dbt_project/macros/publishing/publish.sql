{#-
  Write, audit, publish. Each published model writes its rows to .built/ when it is built; when every model and test of
  the build has passed, what it built goes into force at one instant. A build that fails leaves what was published before
  in force.
-#}

{% macro publish_built(built) %}
  {%- set files = files_built() -%}
  {%- set views = [] -%}
  {%- for node in graph.nodes.values() -%}
    {%- if node.resource_type == 'model' and node.config.meta.get('publish') -%}
      {%- do views.append([node.config.meta.publish, node.name, files.get(node.name, '') if node.name in built else '']) -%}
    {%- endif -%}
  {%- endfor -%}
  {#- What arrived until then, all that was published knows: a sync leaves what came later as a stream has written it. -#}
  {%- set log_read_at = run_started_at.isoformat() if 'base_events' in built else '' -%}
  {%- set said = step('publish', [home(), tojson(views), log_read_at]) -%}
  {%- do log('scalespace: published: ' ~ said, info=true) -%}
  {%- do sweep_state() -%}
{% endmacro %}
