"""The proxy does to connections what a network does, and its counts tell the truth."""

import gc
import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import anyio
import pytest
from aiokafka import AIOKafkaProducer
from redis.exceptions import ConnectionError as RedisConnectionError

from compose.lifecycle import Broker
from tests.fix_proxy import Direction, Proxies, Proxy
from tests.smoke.keepers import create_topic, redis_client, unique

ECHO_TIMEOUT = 10


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def echo_port() -> Iterator[int]:
    """A server that sends back what it receives, one thread for each connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def echo(link: socket.socket) -> None:
        with link, suppress(OSError):
            while piece := link.recv(65_536):
                link.sendall(piece)

    def serve() -> None:
        with suppress(OSError):
            while True:
                link, _ = listener.accept()
                threads.append(threading.Thread(target=echo, args=[link]))
                threads[-1].start()

    server = threading.Thread(target=serve)
    server.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for thread in [server, *threads]:
        thread.join(ECHO_TIMEOUT)


def connect(through: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", through.port), timeout=ECHO_TIMEOUT)


def receive(link: socket.socket, count: int) -> bytes:
    received = b""
    while len(received) < count and (piece := link.recv(count - len(received))):
        received += piece
    return received


def test_a_proxy_passes_everything_and_the_end(echo_port: int, proxy: Proxies) -> None:
    through = proxy(echo_port)
    sent = bytes(range(256)) * 4000
    with connect(through) as link:
        sender = threading.Thread(target=link.sendall, args=[sent])
        sender.start()
        assert receive(link, len(sent)) == sent
        sender.join()
        link.shutdown(socket.SHUT_WR)
        assert link.recv(1) == b""
    counts = through.wait_until(lambda seen: seen.open_connections == 0)
    assert (counts.connections, counts.cut_connections) == (1, 0)
    assert (counts.bytes_to_server, counts.bytes_to_client) == (len(sent), len(sent))


def test_a_cut_resets_every_present_connection(echo_port: int, proxy: Proxies) -> None:
    through = proxy(echo_port)
    with connect(through) as first, connect(through) as second:
        for link in (first, second):
            link.sendall(b"x")
            assert link.recv(1) == b"x"
        through.cut()
        for link in (first, second):
            with pytest.raises(ConnectionResetError):
                link.recv(1)
    assert through.statistics().cut_connections == 2
    with connect(through) as third:
        third.sendall(b"y")
        assert third.recv(1) == b"y"


@pytest.mark.parametrize("direction", ["to_server", "to_client"])
def test_a_cut_after_bytes_passes_exactly_these(
    direction: Direction, echo_port: int, proxy: Proxies
) -> None:
    through = proxy(echo_port)
    with connect(through) as link:
        link.sendall(b"before")
        assert receive(link, 6) == b"before"
        through.cut_after_bytes(4, direction)
        link.sendall(b"0123456789")
        with pytest.raises(ConnectionResetError):
            receive(link, 100)
    counts = through.wait_until(lambda seen: seen.open_connections == 0)
    assert getattr(counts, f"bytes_{direction}") == len(b"before") + 4
    assert counts.cut_connections == 1


def test_a_client_receives_all_that_came_before_the_cut(echo_port: int, proxy: Proxies) -> None:
    through = proxy(echo_port)
    with connect(through) as link:
        through.cut_after_bytes(4, "to_client")
        link.sendall(b"0123456789")
        assert receive(link, 4) == b"0123"


def test_a_refusing_proxy_keeps_present_connections(echo_port: int, proxy: Proxies) -> None:
    through = proxy(echo_port)
    with connect(through) as link:
        link.sendall(b"x")
        assert link.recv(1) == b"x"
        through.refuse()
        with pytest.raises(ConnectionRefusedError):
            connect(through)
        link.sendall(b"y")
        assert link.recv(1) == b"y"
        through.accept()
        with connect(through) as another:
            another.sendall(b"z")
            assert another.recv(1) == b"z"


def test_a_black_hole_passes_nothing_until_it_heals(echo_port: int, proxy: Proxies) -> None:
    through = proxy(echo_port)
    with connect(through) as link:
        link.sendall(b"x")
        assert link.recv(1) == b"x"
        through.black_hole()
        link.sendall(b"y")
        with connect(through) as another:
            # The proxy has seen the second connection, so it had its chance to pass the byte.
            through.wait_until(lambda seen: seen.connections == 2)
            another.sendall(b"z")
            assert through.statistics().bytes_to_server == 1
            through.heal()
            assert (link.recv(1), another.recv(1)) == (b"y", b"z")


def test_a_proxy_before_no_server_resets_its_clients(echo_port: int, proxy: Proxies) -> None:
    silent = proxy(echo_port)
    silent.close()
    through = proxy(silent.port)
    with pytest.raises(ConnectionResetError), connect(through) as link:
        link.recv(1)


def test_a_closed_proxy_leaves_no_thread_and_no_listener(echo_port: int) -> None:
    before = set(threading.enumerate())
    with Proxy(echo_port) as through, connect(through) as link:
        link.sendall(b"x")
        assert link.recv(1) == b"x"
        through.close()
        with pytest.raises(ConnectionResetError):
            link.recv(1)
        with pytest.raises(ConnectionRefusedError):
            connect(through)
    through.close()
    assert {one for one in threading.enumerate() if one.name == "proxy"} <= before


def test_a_proxy_closed_amid_new_connections_leaves_none_to_the_garbage_collector(
    echo_port: int,
) -> None:
    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always", ResourceWarning)
        for _ in range(30):
            with Proxy(echo_port) as through:
                comers = [connect(through) for _ in range(20)]
            for each in comers:
                each.close()
        gc.collect()
    assert [str(one.message) for one in complaints] == []


@pytest.mark.anyio
async def test_a_cut_fails_the_redis_command_that_waits(
    redis_broker: Broker, proxy: Proxies
) -> None:
    through = proxy(redis_broker)
    async with redis_client(through.url) as client:
        await client.ping()
        sent = through.statistics().bytes_to_server

        def cut_when_sent() -> None:
            through.wait_until(lambda seen: seen.bytes_to_server > sent)
            through.cut()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, cut_when_sent)
            with pytest.raises(RedisConnectionError):
                await client.blpop(["acked-nothing"], timeout=30)
        assert await client.ping()


@pytest.mark.anyio
async def test_kafka_is_reached_through_its_proxy_alone(
    kafka_broker: Broker, proxy: Proxies
) -> None:
    through = proxy(kafka_broker)
    address = urlsplit(through.url).netloc
    topic = unique("proxied")
    await create_topic(address, topic)
    before = through.statistics().bytes_to_server
    async with AIOKafkaProducer(bootstrap_servers=address, acks="all") as producer:
        await producer.send_and_wait(topic, b"x" * 100_000)
    assert through.statistics().bytes_to_server > before + 100_000
