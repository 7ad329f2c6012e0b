-- Grain: one row of the log and of the journal. What `trainer stream` reads when it starts.
{{ log_rows() if execute }}
