"""Multi-task rankers, one paper a file."""
