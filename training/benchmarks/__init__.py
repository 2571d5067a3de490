"""Slow campaigns whose results are committed under docs/benchmarks."""
