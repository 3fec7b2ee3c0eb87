"""Marks that each test gets from what it asks for.

    pytest -m redis          every test that asks for Redis
    pytest -m "not broker"   every test that needs no broker
    pytest -m trio           every test on trio; its twin on asyncio is another test

A test is marked `redis` if that word stands in its file's path, in its name or in its parameters,
or if one of its fixtures brings a Redis; others say `pytest.mark.redis`. One that gets a broker
without its mark fails. The tests of `tests/meta`, whose parameters are files, ask for no broker.
"""

import pytest

from compose.lifecycle import NAMES

_BRINGS = {
    fixture: name
    for name in NAMES
    for fixture in (f"{name}_broker", f"{name}_cluster", f"private_{name}")
}
"""Fixtures that bring a broker, whatever the test is called."""


class _UnderWay:
    item: pytest.Item | None = None


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marks."""
    for name in NAMES:
        config.addinivalue_line("markers", f"{name}: asks for {name}")
    config.addinivalue_line("markers", "broker: asks for a broker")
    config.addinivalue_line("markers", "trio: runs on trio")


# Before pytest chooses by `-m`.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test."""
    for item in items:
        brokers = _brokers(item)
        for mark in [*brokers, "broker"] if brokers else []:
            item.add_marker(mark)
        if isinstance(item, pytest.Function) and _loop(item) == "trio":
            item.add_marker("trio")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Remember which test asks."""
    _UnderWay.item = item


def refuse_unmarked(broker: str) -> None:
    """Fail the test that asks for `broker` if it is not marked so."""
    item = _UnderWay.item
    if item is not None and broker in NAMES and item.get_closest_marker(broker) is None:
        pytest.fail(
            f"it asks for {broker}, but `pytest -m {broker}` would not find it: name {broker} in its"
            f" file, its name or a parameter, or mark it",
            pytrace=False,
        )


def _brokers(item: pytest.Item) -> list[str]:
    brought = {_BRINGS.get(fixture) for fixture in getattr(item, "fixturenames", ())}
    words = "" if item.nodeid.startswith("tests/meta/") else item.nodeid.lower()
    marked = {mark.name for mark in item.iter_markers()}
    return [name for name in NAMES if name in brought or name in words or name in marked]


def _loop(item: pytest.Function) -> object:
    return item.callspec.params.get("anyio_backend") if hasattr(item, "callspec") else None
