"""A queue that is a folder of files: no server, any number of processes on one machine.

**Semantics** — Ack-capable. A group of a topic is a folder, a message in it is a file, and the
file's name says where it stands: `00000000000000000007.1` is message 7, to be delivered for the
first time; with a time and a holder behind it, it is leased to that holder until then. Every step
is one rename, which the file system lets one process win: so whoever finds the name that it knows
still holds the lease, and nobody else can.

**Ordering** — Total: a topic's messages are numbered under a lock.

**Acknowledgement** — Confirmed: the file is gone when `ack()` returns.

**Loses messages when** — The topic has no group yet (groups start with what is published from then
on), or the machine loses power: nothing is forced to the disk.

**Native handle** — The folder: `ls` shows who holds what.

**Requires** — Nothing but `acked`; asyncio or trio; a local file system.
"""

import fcntl
import hashlib
import math
import os
import re
import stat
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import islice
from pathlib import Path
from typing import Final, Self, TypeVar
from urllib.parse import quote, unquote, urlsplit

import anyio
import msgspec
from anyio.to_thread import run_sync

from acked.errors import ConfigurationError, LayerError
from acked.types import (
    Capabilities,
    Leased,
    Outcome,
    Receipt,
    Record,
    Reply,
    Settlement,
    Start,
    Token,
    Verb,
)

__all__ = ("FolderLayer",)

CAPABILITIES: Final = Capabilities(
    confirmed_ack=True,
    nack=True,
    nack_delay=True,
    reject=True,
    dead_letter=True,
    extend=True,
    release=True,
    attempts=True,
    persistent=True,
    groups=True,
    publish_confirm=True,
    out_of_order_ack=True,
    headers=True,
    keys=True,
    order="total",
    lease="timer",
    max_payload=16 * 1024 * 1024,
)
LARGEST_FILE: Final = 17 * 1024 * 1024
"""Bytes of a message with all that travels beside its body; a larger file is nobody's message."""
TAKEN_AT_ONCE: Final = 2 * 1024 * 1024
"""Bytes of bodies after which one look takes no more."""

T = TypeVar("T")

POLL: Final = 0.02
"""Seconds between two looks at an empty folder."""

LONGEST_NAME: Final = 150
"""Characters of a folder's name as they are; file systems have 255 bytes for one."""

encode: Final = msgspec.msgpack.Encoder(enc_hook=dict).encode  # headers may be any mapping
decode: Final = msgspec.msgpack.Decoder(Record).decode


class FolderLayer:
    """Keeps the messages of every topic in a folder beneath `path`."""

    def __init__(self, path: str | Path) -> None:
        self.capabilities: Final = CAPABILITIES
        self._path = Path(path)

    def __repr__(self) -> str:
        return f"<FolderLayer {self._path}>"

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Return a layer for `folder:///absolute/path`."""
        parts = urlsplit(url)
        if parts.netloc or not parts.path or parts.query:
            raise ConfigurationError("say folder:///absolute/path, and nothing else")
        return cls(unquote(parts.path))

    async def __aenter__(self) -> Self:
        """Make the folder, if need be."""
        await run_sync(lambda: self._path.mkdir(0o700, parents=True, exist_ok=True))
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Do nothing: no file stays open."""

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        """Write a file for each group of the topic; a receipt's position is the number."""
        return await run_sync(lambda: [self.publish_now(record) for record in records])

    @asynccontextmanager
    async def consume(
        self, topics: Sequence[str], group: str, *, in_flight: int, lease: float, start: Start
    ) -> AsyncGenerator["_Feed"]:
        """Join `group`; on leaving, what is still held is free at once, its attempt charged."""
        del in_flight, start  # nothing is fetched ahead; without `replay` there is one start
        folders = [self._group(topic, group) for topic in dict.fromkeys(topics)]
        feed = _Feed(self, folders, lease)
        await run_sync(lambda: [folder.mkdir(parents=True, exist_ok=True) for folder in folders])
        try:
            yield feed
        finally:
            with anyio.CancelScope(shield=True):
                await feed.leave()

    def publish_now(self, record: Record) -> Receipt:
        """Publish from a thread that may wait for files."""
        folder = self._path / _folder_name(record.topic)
        folder.mkdir(parents=True, exist_ok=True)
        with _next_number(folder) as number:
            for group in (one for one in folder.iterdir() if one.is_dir()):
                hidden = group / f".{number}"  # appears whole or not at all
                hidden.write_bytes(encode(record))
                hidden.rename(group / str(_Name(number, 1)))
        return Receipt(record.id, record.topic, str(number))

    def _group(self, topic: str, group: str) -> Path:
        return self._path / _folder_name(topic) / _folder_name(group)


_NAME: Final = re.compile("[0-9]{20,40}[.][0-9]{1,9}([.][0-9]{1,20}[.][a-z0-9]+)?")
"""What a message is called; whatever else lies there is somebody else's."""


class _Name(msgspec.Struct, frozen=True):
    """What a file's name says; `until` is in milliseconds since the epoch."""

    number: int
    attempt: int
    until: int = 0
    holder: str = ""

    @classmethod
    def parse(cls, text: str) -> "_Name":
        number, attempt, *lease = text.split(".")
        until, holder = lease or ("0", "")
        return cls(int(number), int(attempt), int(until), holder)

    def __str__(self) -> str:
        lease = f".{self.until}.{self.holder}" if self.until else ""
        return f"{self.number:020}.{self.attempt}{lease}"


class _Feed:
    """One consumer: leases by renaming. A token is the path of a file that only we can know."""

    def __init__(self, layer: FolderLayer, folders: Sequence[Path], lease: float) -> None:
        self._layer = layer
        self._folders = list(folders)
        self._lease = lease
        self._held: dict[Token, Path] = {}
        self._unseen: list[Leased] = []
        self._lock = anyio.Lock()

    async def receive(self, limit: int) -> Sequence[Leased]:
        """Look again and again; what a cancelled call leased is returned by the next one."""
        while True:
            if not self._unseen:
                await run_sync(self._take, limit)
            batch, self._unseen = self._unseen[:limit], self._unseen[limit:]
            if batch:
                return batch
            await anyio.sleep(POLL)

    async def settle(self, batch: Sequence[Settlement]) -> Sequence[Reply]:
        """Settle one after the other; LOST where the file has another name by now."""
        return await self._alone(lambda: [self._settle(settlement) for settlement in batch])

    async def extend(self, tokens: Sequence[Token], seconds: float) -> Sequence[Outcome]:
        """Write a later time into the names."""
        until = _after(seconds)
        return await self._alone(
            lambda: [self._move(token, until=until, keep=True) for token in tokens]
        )

    async def release(self, tokens: Sequence[Token]) -> None:
        """Take our part off the names; the attempt stays."""
        await self._alone(lambda: [self._move(token) for token in tokens])

    async def leave(self) -> None:
        """Free all that is held: unseen without, seen with an attempt charged."""
        await self._alone(self._give_back)

    async def _alone(self, work: Callable[[], T]) -> T:
        """Work in a thread, while no other one renames what is held: renewals come any time."""
        async with self._lock:
            return await run_sync(work)

    def _give_back(self) -> None:
        for leased in self._unseen:
            self._move(leased.token)
        for token in tuple(self._held):
            self._move(token, charge=1)

    def _take(self, limit: int) -> None:
        self._folders.append(self._folders.pop(0))  # every topic's turn to be first comes round
        share = max(1, limit // len(self._folders))
        ours = {path.name for path in self._held.values()}  # nothing is taken from oneself
        room = TAKEN_AT_ONCE
        for folder in self._folders:
            names = sorted(one.name for one in folder.iterdir() if _NAME.fullmatch(one.name))
            free = (_Name.parse(name) for name in names if name not in ours)
            taken = (found for name in free if (found := self._leased(folder, name)))
            for leased in islice(taken, share):
                self._unseen.append(leased)
                room -= len(leased.record.body)
                if room <= 0:
                    return

    def _leased(self, folder: Path, name: _Name) -> Leased | None:
        """Lease the message if it is free, or its lease or delay is over."""
        if name.until > _now():
            return None
        attempt = name.attempt + (1 if name.until else 0)
        until = _after(self._lease)
        ours = folder / str(_Name(name.number, attempt, until, uuid.uuid4().hex))
        try:
            (folder / str(name)).rename(ours)
            record = decode(_bytes_of(ours))
        except FileNotFoundError:
            return None  # another consumer was faster
        except (msgspec.MsgspecError, UnicodeError, RecursionError, OSError):
            ours.rename(folder / f".{ours.name}")  # nobody's message: set aside
            return None
        self._held[ours.name] = ours
        return Leased(record, ours.name, attempt, str(name.number))

    def _settle(self, settlement: Settlement) -> Reply:
        if settlement.verb is Verb.NACK:
            # A delay is a lease that nobody holds; when it is over, the attempt is charged.
            until = _after(settlement.delay) if settlement.delay else 0
            return self._move(settlement.token, until=until, charge=0 if until else 1)
        if settlement.dead_letter is not None:
            if not self._is_ours(settlement.token):
                return Outcome.LOST
            try:
                self._layer.publish_now(settlement.dead_letter)
            except OSError as error:
                refused = LayerError(f"the dead letter cannot be written: {error.strerror}")
                refused.__cause__ = error
                return refused  # the original stays owed
        path = self._held.pop(settlement.token, None)
        try:
            (path or Path("/gone")).unlink()
        except FileNotFoundError:
            return Outcome.LOST
        return Outcome.CONFIRMED

    def _is_ours(self, token: Token) -> bool:
        path = self._held.get(token)
        return path is not None and path.exists()

    def _move(
        self, token: Token, *, until: int = 0, charge: int = 0, keep: bool = False
    ) -> Outcome:
        """Give the file another name; `keep` says that the lease stays ours, under its token."""
        path = self._held.get(token) if keep else self._held.pop(token, None)
        if path is None:
            return Outcome.LOST
        name = _Name.parse(path.name)
        holder = name.holder if keep else "nobody"
        moved = path.with_name(str(_Name(name.number, name.attempt + charge, until, holder)))
        try:
            path.rename(moved)
        except FileNotFoundError:
            self._held.pop(token, None)
            return Outcome.LOST
        if keep:
            self._held[token] = moved
        return Outcome.CONFIRMED


def _folder_name(name: str) -> str:
    """Return a name for the folder of a topic or group that stays where it is put."""
    quoted = quote(name, safe="").replace(".", "%2E")  # else `..` would be the folder above
    if len(quoted) <= LONGEST_NAME:
        return quoted
    digest = hashlib.sha256(name.encode()).hexdigest()
    return f"{quoted[:LONGEST_NAME]}.{digest}"  # the dot is in no other name


def _bytes_of(path: Path) -> bytes:
    """Return what is in the file; follow no link, wait at no pipe, read no more than is allowed."""
    safely = os.O_NOFOLLOW | os.O_NONBLOCK
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | safely)) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST_FILE:
            raise OSError("this is no message")
        return file.read(found.st_size)


@contextmanager
def _next_number(folder: Path) -> Generator[int]:
    """Draw a number and keep the lock: what has a lower one is there before it."""
    with (folder / ".number").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        number = int(file.read() or "0") + 1
        file.truncate(0)
        file.write(str(number))
        file.flush()
        yield number


def _now() -> int:
    return int(time.time() * 1000)


def _after(seconds: float) -> int:
    return math.ceil((time.time() + seconds) * 1000)  # not a part of a millisecond too early
