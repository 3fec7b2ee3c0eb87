"""URLs: what is wrong is said, and no part of a password anywhere."""

import string
import traceback
from urllib.parse import quote

import pytest

from acked import Channel
from acked.errors import AckedError, ConfigurationError, LayerError
from acked.layers._redis.urls import RedisUrl, read_url, readable
from acked.layers.redis_pubsub import RedisPubSubLayer
from acked.layers.redis_streams import RedisStreamsLayer
from tests.layers.redis_streams.kit import port_of_nobody

pytestmark = pytest.mark.anyio

LAYERS = (RedisStreamsLayer, RedisPubSubLayer)
KINDS = [("redis-streams", RedisStreamsLayer), ("redis-pubsub", RedisPubSubLayer)]
PRINTABLE = [one for one in string.printable if not one.isspace()]


def everything_shown(error: BaseException) -> str:
    """Return error and traceback with the variables of our frames, as some loggers show them."""
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    for one in (told, told.__cause__, told.__context__):
        if one is not None:
            one.stack = traceback.StackSummary.from_list(
                [frame for frame in one.stack if "/tests/" not in frame.filename]
            )
    return "".join(told.format())


@pytest.mark.parametrize(("scheme", "kind"), KINDS)
@pytest.mark.parametrize("query", ["", "?maxlen=soon", "?colour=red", "?timeout=0"])
@pytest.mark.parametrize("head", ["zebra", "12345"])  # a port, for all that urlsplit knows
def test_no_part_of_a_password_is_shown_whatever_its_letters(scheme, kind, query, head) -> None:
    refused = 0
    for letter in PRINTABLE:
        for password in (f"{head}{letter}xylophone", f"{letter}xylophone", f"xylophone{letter}"):
            url = f"{scheme}://user:{password}@localhost/0{query}"
            try:
                shown = repr(kind.from_url(url))
            except AckedError as error:
                refused += 1
                shown = everything_shown(error)
            assert "xylophone" not in shown
            assert "zebra" not in shown
    assert refused > 3 * 4  # for / ? # [ at least


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize(
    "url", ["http://u:xylophone@h", "redis://u:1/xylophone@h", "redis://u:[x@h"]
)
def test_no_part_of_a_password_is_shown_by_a_layer_that_was_not_made(kind, url) -> None:
    with pytest.raises(ConfigurationError) as caught:
        kind(url)
    assert "xylophone" not in everything_shown(caught.value)


@pytest.mark.parametrize("kind", LAYERS)
async def test_no_part_of_a_password_is_shown_when_it_is_wrong(private_redis, kind) -> None:
    broker = private_redis(password="right")
    for password in ("xylophone/?#", "".join(PRINTABLE)):
        login = quote(password, safe="")
        layer = kind(f"redis://:{login}@127.0.0.1:{broker.port}")
        with pytest.raises(LayerError, match="refuses us") as caught:
            async with Channel(layer):
                pass
        shown = everything_shown(caught.value)
        assert password[:9] not in shown
        assert login not in shown


@pytest.mark.parametrize("kind", LAYERS)
async def test_no_part_of_a_password_is_shown_when_nobody_is_there(kind) -> None:
    layer = kind(f"redis://me:xylophone@127.0.0.1:{port_of_nobody()}")
    with pytest.raises(LayerError, match="no connection") as caught:
        async with Channel(layer):
            pass
    assert "xylophone" not in everything_shown(caught.value)


@pytest.mark.parametrize(("scheme", "kind"), KINDS)
def test_tls_without_tls_is_refused_with_what_to_write(scheme, kind) -> None:
    with pytest.raises(
        ConfigurationError, match="ssl_ca_certs is of no use without TLS; use redis"
    ):
        kind.from_url(f"{scheme}://localhost?ssl_ca_certs=/ca.pem")
    with pytest.raises(ConfigurationError, match="one of none, optional, required"):
        kind.from_url(f"rediss{scheme.removeprefix('redis')}://localhost?ssl_cert_reqs=maybe")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("ssl_check_hostname=maybe", "ssl_check_hostname in the Redis URL must be true or false"),
        ("ssl_cert_reqs=some", "ssl_cert_reqs in the Redis URL must be one of"),
        ("db=x", "db in the Redis URL must be a whole number"),
    ],
)
def test_an_option_of_the_drivers_that_cannot_be_is_named(query: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        RedisStreamsLayer.from_url(f"rediss-streams://u:secret@h?{query}")


def test_a_url_is_shown_without_who_we_are() -> None:
    assert repr(readable(read_url("redis://u:secret@h:1/2"))) == "<RedisUrl redis://h:1/2>"


def test_what_a_url_verifies() -> None:
    def read(url: str) -> RedisUrl:
        found = read_url(url)
        assert isinstance(found, RedisUrl)
        return found

    assert read("rediss://h").is_verified
    assert not read("rediss://h?ssl_cert_reqs=none").is_verified
    assert not read("rediss://h?ssl_check_hostname=false").is_verified
    assert not read("redis://h").is_verified
    local = ("redis://localhost", "redis://127.0.0.9:1", "redis://[::1]", "unix:///run/r.sock")
    assert all(read(url).is_local for url in local)
    assert not any(read(url).is_local for url in ("redis://127.evil.example", "redis://10.0.0.1"))
