"""Outbox and inbox are tried in PostgreSQL and in SQLite, the latter on trio, too."""

from pathlib import Path

import pytest

from tests.boxes.kit import ALL_WAYS, SQLITE_WAYS, Database, postgres_at, sqlite_at


def _database(request: pytest.FixtureRequest, kind: str, tmp_path: Path, *begun) -> Database:
    if kind == "sqlite":
        return sqlite_at(tmp_path / "shop.db", *begun)
    return postgres_at(request.getfixturevalue("postgres_broker").url, *begun)


@pytest.fixture(
    params=[("postgres", "asyncio"), ("sqlite", "asyncio"), ("sqlite", "trio")], ids="-".join
)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    kind, _ = request.param
    return _database(request, kind, tmp_path)


@pytest.fixture(params=ALL_WAYS)
def by_each_driver(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    begun = ALL_WAYS[request.param]
    kind = "sqlite" if begun in SQLITE_WAYS else "postgres"
    return _database(request, kind, tmp_path, begun)


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The loop that goes with the database; asyncio where none is asked for."""
    params = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    _, loop = params.get("database", (None, "asyncio"))
    return loop
