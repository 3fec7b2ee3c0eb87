"""What a Redis server says of itself that matters for safety, with what follows from it.

INFO and CONFIG GET are asked. What the user may not ask is a finding with the value None. Of
several nodes the one that is worst in a point speaks for all.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, cast

from acked.errors import ConnectionLost, LayerError
from acked.layers._redis.connection import Command, CommandRunner
from acked.layers._redis.errors import is_denied
from acked.layers._redis.urls import RedisUrl
from acked.layers._shared.findings import password_in_clear
from acked.types import Finding, Severity

__all__ = (
    "backlog",
    "findings_for_news",
    "findings_for_streams",
    "rights",
    "settled",
    "transport",
)


class Ask(Protocol):
    """Sends one command; raises `LayerError` where it is refused."""

    def __call__(self, *words: bytes) -> Awaitable[object]:
        """Return the reply."""
        ...


Value = str | int | None
OK, NOTICE, WARNING = Severity.OK, Severity.NOTICE, Severity.WARNING

UNTOLD: Final = "the server does not tell this user; allow it INFO and CONFIG GET, or ask its owner"
FSYNC: Final = {
    "always": (OK, "what was confirmed survives a crash of the server"),
    "everysec": (
        NOTICE,
        "a crash of the server may lose a second of what it confirmed; appendfsync always keeps it",
    ),
    "no": (
        WARNING,
        "a crash of the machine may lose what it confirmed for 30 s; set appendfsync to always",
    ),
    "snapshots": (
        WARNING,
        "a crash of the server loses all since the last snapshot; set appendonly yes",
    ),
    "none": (WARNING, "whenever the server ends, everything is lost; set appendonly yes"),
}


class _Told:
    """What one server has told."""

    def __init__(self, info: dict[str, str], config: dict[str, str | None]) -> None:
        self.info = info
        self.config = config

    def number(self, name: str) -> int | None:
        """Return a number from INFO or CONFIG."""
        text = self.info.get(name, self.config.get(name))
        return None if text is None else int(text)

    def version(self) -> Finding:
        return _finding("server_version", self.info.get("redis_version"), OK, "what is running")

    def persistence(self) -> Finding:
        value: str | None = None
        if self.info.get("aof_enabled") == "1":
            value = self.config["appendfsync"]
        elif "aof_enabled" in self.info and self.config["save"] is not None:
            value = "snapshots" if self.config["save"] else "none"
        severity, message = FSYNC.get(value or "", (NOTICE, UNTOLD))
        return _finding("persistence", value, severity, message)

    def eviction(self) -> Finding:
        value = self.info.get("maxmemory_policy")
        if self.number("maxmemory") and value != "noeviction":
            message = (
                "when memory is full the server deletes keys, and a stream is one: with allkeys-* "
                "any, with volatile-* one that expires; set maxmemory-policy noeviction"
            )
            return _finding("eviction", value, WARNING, message)
        return _finding("eviction", value, OK, "the server deletes no stream to make room")

    def maxmemory(self) -> Finding:
        value = self.number("maxmemory")
        if value:
            message = (
                "when so many bytes are in use, nothing can be published: set maxlen=, or watch"
            )
            return _finding("maxmemory", value, NOTICE, message)
        return _finding("maxmemory", value, OK, "only the machine's memory bounds what is kept")

    def replicas(self) -> Finding:
        value = self.number("connected_slaves")
        if self.info.get("role") == "slave":
            message = "this server is a replica, which cannot be written to: name the master"
            return _finding("replicas", value, WARNING, message)
        return _finding("replicas", value, OK, "how many servers have a copy, a little later")

    def min_replicas(self) -> Finding:
        value = self.number("min-replicas-to-write")
        if value == 0 and self.number("connected_slaves"):
            message = (
                "replicas get what was confirmed a little later: a failover loses what had not "
                "arrived; min-replicas-to-write bounds for how long that may go on"
            )
            return _finding("min_replicas_to_write", value, NOTICE, message)
        message = "without so many replicas nothing can be published"
        return _finding("min_replicas_to_write", value, OK, message)

    def output_buffer(self) -> Finding:
        """Find the limit for subscribers in `normal 0 0 0 slave ... pubsub 33554432 8388608 60`."""
        limits = self.config["client-output-buffer-limit"]
        value = None if limits is None else limits.partition("pubsub ")[2]
        message = (
            "whoever leaves so much unread (bytes at once, or bytes for seconds) is disconnected, "
            "which is a gap: read faster, or choose another overflow policy"
        )
        severity = OK if value is not None and value.startswith("0 0 ") else NOTICE
        return _finding("output_buffer_limit", value, severity, message)

    def cluster(self, *, expected: bool, count: int) -> Finding:
        enabled = self.number("cluster_enabled")
        if enabled and not expected:
            message = "this node of a cluster refuses what others serve: add cluster=1 to the URL"
            return _finding("cluster", 1, WARNING, message)
        return _finding("cluster", count if expected else enabled, OK, "nodes that serve slots")


async def findings_for_streams(servers: Sequence[Ask], *, is_cluster: bool) -> list[Finding]:
    """Return what matters for what is kept: persistence, eviction, memory, replicas."""
    told = [await _told(ask, "appendfsync", "save", "min-replicas-to-write") for ask in servers]
    facts: list[Callable[[_Told], Finding]] = [
        *(_Told.version, _Told.persistence, _Told.eviction, _Told.maxmemory),
        *(_Told.replicas, _Told.min_replicas),
        lambda one: one.cluster(expected=is_cluster, count=len(told)),
    ]
    return [_worst([fact(one) for one in told]) for fact in facts]


def transport(url: RedisUrl) -> Sequence[Finding]:
    """Return whether somebody on the way can read or change what is sent, the password too."""
    is_exposed = url.has_password and not url.is_verified and not url.is_local
    cure = "use rediss:// (TLS), and leave ssl_cert_reqs and ssl_check_hostname as they are"
    return _tls(url), password_in_clear(is_exposed=is_exposed, cure=cure)


def _tls(url: RedisUrl) -> Finding:
    if url.is_verified:
        return Finding("tls", "verified", OK, "the server has to prove who it is")
    if url.is_encrypted:
        message = (
            "anybody on the way can pose as the server: leave ssl_cert_reqs and ssl_check_hostname "
            "as they are, and name the authority by ssl_ca_certs"
        )
        return Finding("tls", "unverified", WARNING, message)
    if url.is_local:
        return Finding("tls", "off", OK, "what is sent does not leave this machine")
    message = "anybody on the way reads what is sent: use rediss:// (TLS)"
    return Finding("tls", "off", NOTICE, message)


async def rights(server: CommandRunner, commands: Sequence[Command]) -> Finding:
    """Return which of `commands` the server's ACL forbids us; none of them is carried out.

    They are queued for a transaction, which is where rights are asked after, and then discarded.
    """
    replies = await server.exchange([(b"MULTI",), *commands, (b"DISCARD",)])
    if isinstance(replies[0], LayerError):
        return Finding("rights", None, NOTICE, "this user may not MULTI: nobody can say")
    pairs = zip(commands, replies[1:-1], strict=True)
    missing = {_name_of(command): None for command, reply in pairs if is_denied(reply)}
    if missing:
        words = " ".join(missing)
        message = (
            f"the server's ACL forbids this user: {words} (or the keys, or channels); what this "
            "layer needs is listed in its documentation under Requires"
        )
        return Finding("rights", words, WARNING, message)
    return Finding("rights", "enough", OK, "this user may do all that this layer does")


def _name_of(command: Command) -> str:
    words = command[:2] if command[0] in {b"XGROUP", b"XINFO"} else command[:1]
    return b" ".join(words).decode()


def settled(keep: float | None, counts: Sequence[int | None]) -> Finding:
    """Return how many entries are kept that every group has settled, of all streams consumed."""
    known = [one for one in counts if one is not None]
    count = sum(known) if len(known) == len(counts) else None
    if keep is not None:
        message = f"what every group has settled is deleted when it is {keep:g} s old"
        return Finding("settled", count, OK, message)
    if count == 0:
        return Finding("settled", 0, OK, "nothing is kept that every group has settled")
    message = (
        "so many entries are kept that every group has settled, and their number grows: "
        "keep_settled= deletes those that are old, unless somebody else reads or replays them"
    )
    return Finding("settled", count, NOTICE, message)


def backlog(maxlen: int | None, behind: Sequence[int | None]) -> Finding:
    """Return whether the slowest group is near the length to which this layer trims streams.

    `behind` has for each stream consumed so far what that group owes, or None where nobody tells.
    """
    if maxlen is None:
        return Finding("backlog", _largest(behind), OK, "this layer trims no stream")
    most = _largest(behind)
    if most is None:
        message = (
            "the server does not tell how far groups are behind; maxlen= deletes what is unread"
        )
        return Finding("backlog", None, NOTICE, message)
    if most > maxlen // 2:
        message = (
            f"a group owes so many entries of a stream that is trimmed to {maxlen}: what is beyond "
            "is deleted, settled or not; consume faster, or give a larger maxlen="
        )
        return Finding("backlog", most, WARNING, message)
    message = (
        f"no group owes more than half of the {maxlen} entries that a stream keeps; but maxlen= "
        "deletes what is not settled when one does: keep_settled= never does"
    )
    return Finding("backlog", most, NOTICE, message)


def _largest(behind: Sequence[int | None]) -> int | None:
    known = [one for one in behind if one is not None]
    return max(known, default=0) if len(known) == len(behind) else None


async def findings_for_news(servers: Sequence[Ask], *, is_cluster: bool) -> list[Finding]:
    """Return what matters for what is passed on: how much a slow subscriber may leave unread."""
    told = [await _told(ask, "client-output-buffer-limit") for ask in servers]
    if is_cluster:
        cluster = told[0].cluster(expected=True, count=len(told))
    else:  # any node of a cluster passes on what another was told
        cluster = told[0].cluster(expected=True, count=told[0].number("cluster_enabled") or 0)
    facts = (_Told.version, _Told.output_buffer)
    return [*(_worst([fact(one) for one in told]) for fact in facts), cluster]


async def _told(ask: Ask, *settings: str) -> _Told:
    text = await _or_none(ask(b"INFO"))
    lines = text.decode().splitlines() if isinstance(text, bytes) else []
    info = {name: value for name, _, value in (line.partition(":") for line in lines)}
    config: dict[str, str | None] = {}
    for name in settings:
        pair = await _or_none(ask(b"CONFIG", b"GET", name.encode()))
        values = cast("list[bytes]", pair or [])[1:]
        config[name] = values[0].decode() if values else None
    return _Told(info, config)


async def _or_none(reply: Awaitable[object]) -> object:
    """Return a reply, or None for a refusal."""
    try:
        return await reply
    except ConnectionLost:
        raise
    except LayerError:
        return None


def _finding(name: str, value: Value, severity: Severity, message: str) -> Finding:
    if value is None:
        return Finding(name, None, NOTICE, UNTOLD)
    return Finding(name, value, severity, message)


def _worst(findings: Sequence[Finding]) -> Finding:
    return max(findings, key=lambda finding: finding.severity)
