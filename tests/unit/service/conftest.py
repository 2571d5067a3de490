"""Async tests run on asyncio alone; the service knows no other loop."""

import pytest


@pytest.fixture
def anyio_backend():
    return "asyncio"
