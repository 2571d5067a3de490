"""``python -m fulcrum``."""

from fulcrum.cli import main

main()
