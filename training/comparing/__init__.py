"""Comparing architectures: same capacity, several seeds, differences beside their noise."""
