"""The order service as it is deployed: a web process, workers, a database of its own, any broker."""

import asyncio
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import psutil

ROOT = Path(__file__).parents[2]
MODULE = "docs.examples.orders.service"
PASSWORD = "hunter2-of-the-shop"
PAGES_AND_MORE = 40
"""What the web process is told to be the most connections."""
PATIENCE = 120.0


class Service:
    """Its processes; whatever they say is in `log`."""

    def __init__(self, database: str, broker: str, folder: Path) -> None:
        self.database = database
        self.broker = broker
        self._environment = os.environ | {"ORDERS_DATABASE": database, "ORDERS_BROKER": broker}
        self._log = folder / "log"
        self._running: list[subprocess.Popen[bytes]] = []
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self._log.read_text()

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", *words]
            process = subprocess.Popen(
                command, cwd=ROOT, env=self._environment, stdout=log, stderr=log
            )
        self._running.append(process)
        return process

    async def serve(self) -> None:
        """Start the web process, and return when it answers."""
        most = ["--limit-concurrency", str(PAGES_AND_MORE), "--timeout-graceful-shutdown", "2"]
        words = ["uvicorn", f"{MODULE}:web", "--port", str(self.port), "--no-access-log", *most]
        self.web = self.start(*words)

        async def answers() -> bool:
            assert self.web.poll() is None, self.log
            try:
                return (await self.ask("GET", "/"))[0] == 200
            except OSError:
                return False

        await until(answers)

    def work(self, processes: int) -> None:
        """Start workers, and what replaces those that die."""
        self._supervisor = self.start(
            "acked", "run", f"{MODULE}:shipping", "--processes", str(processes)
        )

    def workers(self) -> list[psutil.Process]:
        """Return those that live."""
        all_of_them = psutil.Process(self._supervisor.pid).children()
        return [one for one in all_of_them if one.status() != psutil.STATUS_ZOMBIE]

    def stop(self) -> None:
        for process in self._running:
            process.terminate()
        for process in self._running:
            process.wait(40)

    async def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, str]:
        """Return the status and the text of the answer."""
        return await asyncio.to_thread(self._ask, method, path, body, headers)

    def _ask(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    async def order(
        self, customer: str, item: str = "tea", quantity: int = 1, *, by: UUID | None = None
    ) -> int:
        """Place an order, and return its number."""
        body = json.dumps({"customer": customer, "item": item, "quantity": quantity}).encode()
        status, text = await self.ask("PUT", f"/orders/{by or uuid4()}", body)
        assert status == 200, text
        return json.loads(text)["number"]

    async def fetch(self, query: str) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.database)
        try:
            return await connection.fetch(query)
        finally:
            await connection.close()

    async def execute(self, script: str) -> None:
        connection = await asyncpg.connect(self.database)
        try:
            await connection.execute(script)
        finally:
            await connection.close()


class Page:
    """What a browser's page does: it shows events, and comes again when it was sent away."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.told: defaultdict[int, list[str]] = defaultdict(list)
        """The states of each order, as they came."""
        self.visits = 0

    @property
    def shown(self) -> dict[int, str]:
        return {number: states[-1] for number, states in self.told.items()}

    async def stay(self) -> None:
        while True:
            await self.visit()
            await asyncio.sleep(0.05)

    async def visit(self) -> None:
        """Listen until the stream ends."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._service.port)
        try:
            writer.write(b"GET /events HTTP/1.0\r\n\r\n")
            assert (await reader.readline()).split()[1] == b"200"
            self.visits += 1
            async for line in reader:
                if line.startswith(b"data: "):
                    number, _, state = json.loads(line[6:])
                    self.told[number].append(state)
        finally:
            writer.close()


async def until(is_true: Callable[[], Awaitable[bool]]) -> None:
    """Return when `is_true`, looking often."""
    deadline = time.monotonic() + PATIENCE
    while not await is_true():
        assert time.monotonic() < deadline, f"not so within {PATIENCE} s: {is_true.__qualname__}"
        await asyncio.sleep(0.1)
