"""Sequence models over point-in-time-correct features: fit, evaluate, predict, serve."""
