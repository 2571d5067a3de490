"""Requests by id for the demo bundle."""

import random

import httpx
import orjson

__all__ = ["ITEMS", "body_of", "example_request"]

ITEMS = 2_000  # i0 … i1999


def example_request(url):
    """Give the request side of the model's own example."""
    return httpx.get(f"{url}/v1/models/demo/example").json()["request"]


def body_of(request, length, chance: random.Random, **more):
    """Give a body with *length* ids of the catalogue."""
    ids = [f"i{item}" for item in chance.sample(range(ITEMS), length)]
    return orjson.dumps({"model": "demo", "request": request, "candidates": {"item_id": ids}, **more})
