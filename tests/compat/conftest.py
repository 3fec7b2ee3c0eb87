"""What the tests of both originals are given."""

import pytest


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    """The URL of a real broker under the scheme that the test's parameter names."""
    scheme: str = request.param
    if scheme == "memory":
        return "memory://"
    broker = request.getfixturevalue(f"{scheme.partition('-')[0]}_broker")
    return f"{scheme}://{broker.url.partition('://')[2]}"
