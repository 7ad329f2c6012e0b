"""Events as they arrive: appended durably, judged and computed by dbt's own SQL, put online.

Modules by what they hold: `events` (one event as text), `journal` (what was taken in, on disk),
`compiled` (dbt's statements), `history` (who did what), `computation` (the statements, run on what
a batch touches), `online` (rows in the store), `writes` (rows on their way there), `engine` (all of
it, batch by batch), `batches` (callers that share a batch), and the ways in: `router`,
`redis_source`, `lines`.
"""
