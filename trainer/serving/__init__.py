"""The HTTP service: predictions, what is known of a user, a page, and what operators need."""
