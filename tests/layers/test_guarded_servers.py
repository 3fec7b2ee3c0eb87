"""Certificates and passwords at real servers, for each layer with a network and each drop-in.

A certificate that is not what it should be is refused by name, a server without TLS too, and
neither is told the password. A wrong password is refused, and nobody is shown it.
"""

import logging
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import quote, urlencode

import anyio
import pytest

from acked import Channel
from acked.compat.broadcaster import Broadcast
from acked.compat.starlette_web.common.channels.base import Channel as WebChannel
from acked.compat.starlette_web.contrib.mqtt.channel_layers import MQTTChannelLayer
from acked.compat.starlette_web.contrib.postgres.channel_layers import PostgreSQLChannelLayer
from acked.compat.starlette_web.contrib.redis.channel_layers import RedisPubSubChannelLayer
from acked.conformance.harness import fresh
from acked.errors import AckedError, ConnectionLost, LayerError
from acked.types import Severity
from tests.layers.guarded_kit import PASSWORD, FalseServer, Guards
from tests.layers.secrets_kit import LEFT, PASSWORDS, RIGHT, is_hidden, shown

pytestmark = pytest.mark.anyio

SOON = 40.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def guards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guards]:
    made = Guards(tmp_path_factory.mktemp("guarded"))
    yield made
    made.close()


class Way(NamedTuple):
    """Where to connect, as whom, and with which files; no files is no TLS."""

    port: int
    authority: str | None = None
    client: tuple[str, str] | None = None
    user: str = "shop"
    password: str = PASSWORD

    def url(self, scheme: str, *names: str, path: str = "", **more: object) -> str:
        """Return a URL that calls the authority, our certificate and its key by `names`."""
        files = (self.authority, *(self.client or ()))
        options = {name: file for name, file in zip(names, files, strict=False) if file}
        login = f"{self.user}:{quote(self.password, safe='')}"
        query = urlencode(options | more)
        return f"{scheme}://{login}@127.0.0.1:{self.port}{path}?{query}".removesuffix("?")


Enter: TypeAlias = Callable[[Way], AbstractAsyncContextManager[Any]]
REDIS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
MQTT = ("ca_certs", "certfile", "keyfile")
POSTGRES = ("sslrootcert", "sslcert", "sslkey")


def channel(url: str, *, news: bool) -> Channel[Any]:
    return Channel.from_url(url, fire_and_forget=True) if news else Channel.from_url(url)


def layer(scheme: str, *names: str, news: bool = False, plain: str = "", **more: object) -> Enter:
    """Connect by `scheme`, and by `plain` where there is no TLS."""

    def enter(way: Way) -> Channel[Any]:
        said = scheme if way.authority else plain or scheme
        return channel(way.url(said, *names, **more), news=news)

    return enter


def postgres(scheme: str, *, news: bool) -> Enter:
    def enter(way: Way) -> Channel[Any]:
        mode = "verify-full" if way.authority else "disable"
        url = way.url(scheme, *POSTGRES, path="/postgres", sslmode=mode)
        return channel(url, news=news)

    return enter


@asynccontextmanager
async def heard(entered: Any) -> AsyncGenerator[None]:
    """Enter a drop-in and hear what it says itself."""
    async with entered as hub:
        room = fresh("room")
        async with hub.subscribe(room) as subscriber:
            await hub.publish(room, "hello")
            assert (await anext(subscriber)).message == "hello"
        yield


def broadcast(scheme: str, *names: str, path: str = "", **more: object) -> Enter:
    return lambda way: heard(Broadcast(way.url(scheme, *names, path=path, **more)))


def web_redis(way: Way) -> AbstractAsyncContextManager[None]:
    certificate, key = way.client or (None, None)
    options = {
        "host": "127.0.0.1",
        "port": way.port,
        "username": way.user,
        "password": way.password,
        "ssl": True,
        "ssl_ca_certs": way.authority,
        "ssl_certfile": certificate,
        "ssl_keyfile": key,
    }
    return heard(WebChannel(RedisPubSubChannelLayer(**options)))


def web_postgres(way: Way) -> AbstractAsyncContextManager[None]:
    dsn = way.url("postgresql", *POSTGRES, path="/postgres", sslmode="verify-full")
    return heard(WebChannel(PostgreSQLChannelLayer(dsn=dsn)))


def web_mqtt(way: Way) -> AbstractAsyncContextManager[None]:
    certificate, key = way.client or (None, None)
    files = {"ca_certs": way.authority, "certfile": certificate, "keyfile": key}
    given = {name: file for name, file in files.items() if file}
    made = MQTTChannelLayer(
        host="127.0.0.1",
        port=way.port,
        username=way.user,
        password=way.password,
        ssl=True,
        **given,
    )
    return heard(WebChannel(made))


LAYERS: dict[str, tuple[str, Enter]] = {
    "redis-streams": ("redis", layer("rediss-streams", *REDIS, plain="redis-streams")),
    "redis-pubsub": ("redis", layer("rediss-pubsub", *REDIS, news=True, plain="redis-pubsub")),
    "postgres-notify": ("postgres", postgres("postgres-notify", news=True)),
    "postgres-queue": ("postgres", postgres("postgres-queue", news=False)),
    "mqtt": ("mqtt", layer("mqtts", *MQTT, plain="mqtt")),
    "kafka": ("kafka", layer("kafka", *REDIS, timeout=5)),
}
DROP_INS: dict[str, tuple[str, Enter]] = {
    "broadcaster redis": ("redis", broadcast("rediss", *REDIS)),
    "broadcaster redis-stream": ("redis", broadcast("rediss-stream", *REDIS)),
    "broadcaster postgres": (
        "postgres",
        broadcast("postgresql", *POSTGRES, path="/postgres", sslmode="verify-full"),
    ),
    "broadcaster kafka": ("kafka", broadcast("kafka", *REDIS, timeout=5)),
    "starlette_web redis": ("redis", web_redis),
    "starlette_web postgres": ("postgres", web_postgres),
    "starlette_web mqtt": ("mqtt", web_mqtt),
}
ALL = LAYERS | DROP_INS


def each(table: dict[str, tuple[str, Enter]]) -> Any:
    """A parameter for each of `table`, marked with its broker."""
    rows = [
        pytest.param(broker, enter, id=name, marks=getattr(pytest.mark, broker))
        for name, (broker, enter) in table.items()
    ]
    return pytest.mark.parametrize(("broker", "enter"), rows)


async def refusal(entered: AbstractAsyncContextManager[Any]) -> AckedError:
    """Return why `entered` could not be; nothing of it shows the password."""
    with anyio.fail_after(SOON), pytest.raises(AckedError) as caught:
        async with entered:
            pass
    told = shown(caught.value)
    assert is_hidden(told, PASSWORD), told
    return caught.value


@each(LAYERS)
@pytest.mark.parametrize("shows", ["good", "mutual"])
async def test_a_good_certificate_is_enough_and_check_says_so(
    guards: Guards, broker: str, enter: Enter, shows: str
) -> None:
    server = guards(broker)
    ours = server.certificates
    client = ours.client if shows == "mutual" else None
    way = Way(server.port(shows), ours.authority, client, server.user(shows))
    async with enter(way) as entered:
        found = {one.name: one for one in await entered.check()}
    assert found["tls"].severity is Severity.OK
    assert found["password_in_clear"].value is False
    assert is_hidden(repr(found) + repr(entered), PASSWORD)


@each(DROP_INS)
async def test_a_good_certificate_is_enough_for_a_drop_in(
    guards: Guards, broker: str, enter: Enter
) -> None:
    server = guards(broker)
    ours = server.certificates
    with anyio.fail_after(SOON):
        async with enter(Way(server.port("good"), ours.authority)):
            pass
        user = server.user("mutual")
        async with enter(Way(server.port("mutual"), ours.authority, ours.client, user)):
            pass


@each(ALL)
@pytest.mark.parametrize("flaw", ["of a stranger", "expired", "elsewhere", "alone"])
async def test_a_certificate_that_is_not_what_it_should_be_is_refused_by_name(
    guards: Guards, broker: str, enter: Enter, flaw: str
) -> None:
    server = guards(broker)
    trusted = server.certificates.authority
    if flaw == "of a stranger":
        flaw, trusted = "good", server.certificates.stranger
    error = await refusal(enter(Way(server.port(flaw), trusted)))
    assert "certificate" in str(error)
    assert not isinstance(error, ConnectionLost), str(error)


@each(ALL)
async def test_a_server_that_asks_for_a_certificate_of_ours_lets_nobody_in_without(
    guards: Guards, broker: str, enter: Enter
) -> None:
    server = guards(broker)
    way = Way(server.port("mutual"), server.certificates.authority, user=server.user("mutual"))
    error = await refusal(enter(way))
    assert "certificate" in str(error)


@each(ALL)
async def test_a_server_without_tls_is_refused(
    guards: Guards, broker: str, enter: Enter, request: pytest.FixtureRequest
) -> None:
    server = guards(broker)
    if broker == "postgres":  # the guarded one has TLS at its only port
        port = request.getfixturevalue("postgres_broker").port
    else:
        port = server.port("plain")
    await refusal(enter(Way(port, server.certificates.authority)))


@each(ALL)
async def test_a_false_server_without_tls_is_given_no_password(
    guards: Guards, broker: str, enter: Enter
) -> None:
    with FalseServer() as false:
        await refusal(enter(Way(false.port, guards(broker).certificates.authority)))
    assert false.given
    assert not any(part.encode() in false.given for part in (LEFT, RIGHT))


@each(LAYERS)
async def test_a_hundred_wrong_passwords_are_refused_and_shown_to_nobody(
    guards: Guards, broker: str, enter: Enter, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor is the right one, whatever `check` finds."""
    caplog.set_level(logging.DEBUG)
    server = guards(broker)
    port, refused = server.port("plain"), 0
    for password in PASSWORDS:
        entered = enter(Way(port, password=password))
        with anyio.fail_after(SOON), pytest.raises(LayerError) as caught:
            await entered.__aenter__()
        assert not isinstance(caught.value, ConnectionLost), str(caught.value)
        told = shown(caught.value) + repr(entered)
        assert is_hidden(told, password), told
        refused += 1
    assert refused == 100
    async with enter(Way(port)) as entered:
        found = await entered.check()
    assert len(found) > 3
    assert is_hidden(repr(found) + repr(entered), PASSWORD)
    assert is_hidden(caplog.text, PASSWORD)
