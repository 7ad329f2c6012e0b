"""The subcommands of ``trainer``. Heavy imports stand inside them: ``--help`` answers at once."""
