"""Drift: a period's features, labels and predictions beside those that a run learned from."""
