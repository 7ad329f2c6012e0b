"""What comes next by name: which item, and which category, of all that is known at the instant."""
