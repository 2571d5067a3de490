"""Adapters for what outlives a request, named after their technology."""
