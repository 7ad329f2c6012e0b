"""Federated fitting: clients learn from rows of their own, and give away weights alone."""
