"""Benchmarks of the feature layer and of the offline store; see README.md beside this file."""
