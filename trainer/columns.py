"""The names of the published columns that the trainer reads, written once."""

from __future__ import annotations

LEAVE = "leave"


class Columns:
    """Column names of the label tables and of the features that models need by name."""

    USER = "user_id"
    INSTANT = "event_timestamp"
    POSITION = "event_position"
    LANDMARK = "is_landmark"

    NEXT_ACTION = "next_action"
    NEXT_STATE_AT = "next_state_at"
    NEXT_GAP = "next_gap_ms"

    ACTION = "action_type"
    ITEM = "item_id"
    CATEGORY = "category_id"
    LOCATION = "location"
    GAP = "gap_ms"
    DURATION = "duration_ms"
    HOUR = "hour"

    SEQUENCE_VIEW = "user_sequence"
    SEQUENCE_ACTIONS = "sequence_actions"
    SEQUENCE_ITEMS = "sequence_items"
    SEQUENCE_CATEGORIES = "sequence_categories"
    SEQUENCE_LOCATIONS = "sequence_locations"
    SEQUENCE_GAPS = "sequence_gaps_ms"
    SEQUENCE_DURATIONS = "sequence_durations_ms"
    SEQUENCE_HOURS = "sequence_hours"
    SEQUENCE_WEEKDAYS = "sequence_weekdays"

    SESSION_VIEW = "user_session"

    LAST_ACTION = "last_action_type"
    LAST_ACTION_AT = "last_action_at"
    SESSION_IS_OPEN = "session_is_open"
    TRANSITION_COUNTS = "transition_counts_all"

    @staticmethod
    def converted_within(horizon: str) -> str:
        """Label of a conversion within a horizon, as ``7d``."""
        return f"converted_within_{horizon}"
