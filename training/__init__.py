"""Offline: raw logs to a published bundle. Never imports service."""
