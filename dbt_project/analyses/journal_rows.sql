-- Grain: one line of the journal, as a row of the log. What `trainer stream` reads of a batch.
{%- if execute %}
{{ journal_values(streaming_relation('lines'), log_columns(log_reader())) }}
{%- endif %}
