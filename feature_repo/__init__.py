"""Feature repository: dbt's published views as Feast objects, and the stores that serve them.

This module imports nothing, because ``import feast`` takes seconds; each module below imports what
it needs when it is used.
"""
