"""The programs: those that others published, created again, and our own; one file for each kind."""
