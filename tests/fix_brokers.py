"""Fixtures that give tests real brokers, and start only those that the run needs.

There is one for each broker of `compose.catalogue`: `redis_broker` and its like are shared by the
whole run: leave them running. A test that kills, pauses or restarts asks for `private_broker` or
`private_redis`, which makes one of its own.

`ACKED_TEST_REDIS_URL` and its like name servers that exist already. A broker that cannot be had is
a skip with the reason, or an error where `ACKED_REQUIRE=redis,postgres` names it; `all` names all.
Nothing is installed here: `python compose/brokers.py install` does that.
"""

import os
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

import pytest

from compose.catalogue import CLUSTERS, Cluster, new_cluster
from compose.external import ExternalBroker
from compose.fleet import chosen_kind, close_all, create, start_all
from compose.lifecycle import FURTHER, NAMES, Broker, BrokerError
from compose.native.install import TOOLS
from tests.fix_marks import refuse_unmarked

T = TypeVar("T")

_REQUIRE = "ACKED_REQUIRE"


class SharedBrokers:
    """The brokers that the tests of one run share, each started at most once."""

    def __init__(self) -> None:
        self.needed: list[str] = []
        self.started: dict[str, Broker] = {}
        self.errors: dict[str, BrokerError] = {}

    def get(self, name: str) -> Broker:
        """Return broker `name`; the first call starts all that the run needs, in parallel."""
        if name not in self.started and name not in self.errors:
            known = self.started.keys() | self.errors.keys()
            self._start([one for one in {name, *self.needed} if one not in known])
        if name in self.errors:
            raise self.errors[name]
        return self.started[name]

    def close(self) -> None:
        """End what was started."""
        close_all(self.started.values())
        self.started.clear()

    def _start(self, names: list[str]) -> None:
        brokers = {name: ExternalBroker.from_environment(name) or create(name) for name in names}
        errors = start_all(brokers.values())
        self.errors |= errors
        self.started |= {name: one for name, one in brokers.items() if name not in errors}


_SHARED = pytest.StashKey[SharedBrokers]()


def required() -> set[str]:
    """Return the brokers whose absence is an error."""
    named = {name for name in os.environ.get(_REQUIRE, "").replace(" ", "").split(",") if name}
    return {*NAMES, *FURTHER, *TOOLS} if named == {"all"} else named


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a misspelt `ACKED_REQUIRE`: it would make an error a skip."""
    known = [*NAMES, *FURTHER, *TOOLS]
    unknown = required() - {*known}
    if unknown:
        raise pytest.UsageError(
            f"{_REQUIRE} names {', '.join(sorted(unknown))}: there are {', '.join(known)}"
        )
    config.stash[_SHARED] = SharedBrokers()


@pytest.hookimpl(tryfirst=True)  # before the report that names them
def pytest_collection_finish(session: pytest.Session) -> None:
    """Note which shared brokers the collected tests ask for, themselves or by their fixtures."""
    asked = {fixture for item in session.items for fixture in getattr(item, "fixturenames", ())}
    shared = session.config.stash[_SHARED]
    shared.needed = [name for name in NAMES if f"{name}_broker" in asked]


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """Name the servers of this run, and their versions."""
    needed = config.stash[_SHARED].needed
    if not needed:
        return ["brokers: none needed"]
    return ["brokers: " + ", ".join(f"{name} {_seen(name)}" for name in needed)]


def _seen(name: str) -> str:
    external = ExternalBroker.from_environment(name)
    if external is not None:
        return external.version
    try:
        return f"{create(name).version} ({chosen_kind()})"
    except BrokerError:
        return "not installed"


def or_skip(name: str, get: Callable[[], T]) -> T:
    """Return what `get` returns; when the broker cannot be had, skip or fail with the reason."""
    refuse_unmarked(name)
    try:
        return get()
    except BrokerError as error:
        reason = str(error)
    # Outside the except block: the report shows the reason once, without a chain.
    if name in required():
        pytest.fail(f"{_REQUIRE} names {name}, and it cannot be had: {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def shared_brokers(pytestconfig: pytest.Config) -> Iterator[SharedBrokers]:
    """All the brokers that tests share, closed at the end of the run."""
    shared = pytestconfig.stash[_SHARED]
    yield shared
    shared.close()


def _shared(name: str) -> object:
    @pytest.fixture(scope="session", name=f"{name}_broker")
    def broker(shared_brokers: SharedBrokers) -> Broker:
        """A broker that the run shares."""
        return or_skip(name, lambda: shared_brokers.get(name))

    return broker


def _cluster(name: str) -> object:
    @pytest.fixture(scope="module", name=f"{name}_cluster")
    def cluster() -> Iterator[Cluster]:
        """A cluster for this module alone: a test that kills a node starts it again."""
        made = new_cluster(name)
        or_skip(name, made.start)
        yield made
        made.close()

    return cluster


globals().update({f"{name}_broker": _shared(name) for name in NAMES})
globals().update({f"{name}_cluster": _cluster(name) for name in CLUSTERS})


class PrivateBrokers(Protocol):
    """Makes and starts a broker for one test, which may do anything to it."""

    def __call__(self, name: str, *, password: str | None = None) -> Broker:
        """Return a started broker `name`; with `password` (redis only) one that asks for it."""
        ...


@pytest.fixture
def private_broker() -> Iterator[PrivateBrokers]:
    """A factory of brokers for this test alone, closed at its end."""
    made: list[Broker] = []

    def make(name: str, *, password: str | None = None) -> Broker:
        broker = create(name, password=password)
        made.append(broker)
        or_skip(name, broker.start)
        return broker

    yield make
    close_all(made)


@pytest.fixture(scope="module")
def module_broker() -> Iterator[Callable[[str], Broker]]:
    """A factory of brokers for this module alone, one of each name, whose tests may kill them.

    Each call makes sure that the broker runs, whatever an earlier test did to it.
    """
    made: dict[str, Broker] = {}

    def get(name: str) -> Broker:
        broker = made.setdefault(name, create(name))
        or_skip(name, broker.start)
        broker.resume()
        return broker

    yield get
    close_all(made.values())


class PrivateRedis(Protocol):
    """Makes and starts a Redis for one test."""

    def __call__(self, *, password: str | None = None) -> Broker:
        """Return a started Redis; with `password` one that asks for it."""
        ...


@pytest.fixture
def private_redis(private_broker: PrivateBrokers) -> PrivateRedis:
    """A factory of Redis servers for this test alone, closed at its end."""

    def make(*, password: str | None = None) -> Broker:
        return private_broker("redis", password=password)

    return make
