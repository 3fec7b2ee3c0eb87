"""What redis-py raises and the server says, as errors of a layer: the one translation.

Rules:

1. Whoever cannot serve now is a lost connection, told by its own words: a master that was demoted
   or loads, a cluster whose slots move. The same connection is not used again: another server may
   be at its address.
2. What may pass at the same server is a refusal with `may_pass`: busy, full, without replicas, a
   password, a right or a certificate that is being changed. Any other refusal is for good.
3. One line, without secrets. The client's own frames are dropped: they hold what was sent, the
   password among it, and tracebacks may show what frames hold.
"""

import re
import ssl
from typing import Final

from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

from acked.errors import ConnectionLost, LayerError, without_frames

__all__ = (
    "ends_connection",
    "group_is_missing",
    "has_moved",
    "is_denied",
    "is_unanswered",
    "lost",
    "says",
    "translated",
)

# redis-py takes the first word off and makes it a class.
_CLASSES: Final = (
    (MasterDownError, "MASTERDOWN"),
    (ClusterDownError, "CLUSTERDOWN"),
    (ReadOnlyError, "READONLY"),
    (BusyLoadingError, "LOADING"),
    (TryAgainError, "TRYAGAIN"),
    (AskError, "ASK"),
    (OutOfMemoryError, "OOM"),
    (NoPermissionError, "NOPERM"),
    (AuthenticationError, "WRONGPASS"),
)
_NOT_HERE: Final = {
    "READONLY": "it is a replica, or became one: the master is elsewhere",
    "LOADING": "it has just started and reads its data",
    "CLUSTERDOWN": "nobody serves a part of the cluster; see CLUSTER INFO",
    "MASTERDOWN": "it is a replica without its master",
    "TRYAGAIN": "a slot is being moved",
    "ASK": "a slot is being moved",
    "UNBLOCKED": "its role changed while we waited: the master may be elsewhere",
}
_NOT_NOW: Final = {
    "OOM": "its memory is full (maxmemory): consume, delete, or give it more",
    "MISCONF": "it cannot write to its disk: make room there, or see its log",
    "NOREPLICAS": "it has fewer replicas than min-replicas-to-write asks for",
    "BUSY": "a script keeps it busy; SCRIPT KILL ends that",
}
_RIGHTS: Final = (
    "check the user and the password in the URL, and in the server's ACL what that user may do"
)
_DENIED: Final = dict.fromkeys(("NOAUTH", "NOPERM", "WRONGPASS"), _RIGHTS)
_KNOWN: Final = "|".join((*_NOT_HERE, *_NOT_NOW, *_DENIED))
# Redis 6.2 puts what a script met behind words of its own, later ones put it first.
_CODE: Final = re.compile(rf"(?:^|.*: ?-)({_KNOWN})\b")
_IN_SCRIPT: Final = "can't run this command"
"""What a script is told in place of NOPERM."""


def translated(
    error: Exception,
    where: str,
    *,
    timeout: float,
    is_node: bool = False,
    is_encrypted: bool = False,
) -> LayerError:
    """Return what `error` of redis-py means to the engine.

    `is_node` says that the server is one of a cluster's, so that "moved" is news and no mistake.
    """
    said = (str(error).splitlines() or [""])[0] or f"no answer within {timeout:g} s"
    if isinstance(error.__context__, ssl.SSLCertVerificationError):
        meaning = _distrusted(where, error.__context__)
    else:
        # A server that wants a certificate may hang up before it has said so.
        also = ", and whether it wants a certificate of ours" if is_encrypted else ""
        meaning = _meaning(_code(error, said), said, where, error, is_node=is_node, also=also)
    meaning.__cause__ = without_frames(error)
    return meaning


def lost(where: str, why: object, also: str = "") -> ConnectionLost:
    """Return the error for a connection that broke or could not be made; `also` check that."""
    return ConnectionLost(
        f"no connection to Redis at {where} ({why}); check the address, and check that the server "
        f"runs and can be reached{also}"
    )


def says(reply: object, *words: str) -> bool:
    """Say whether `reply` is an error of the server's with one of `words` in it."""
    if not isinstance(reply, LayerError):
        return False
    said = str(reply.__cause__)
    return any(word in said for word in words)


def is_unanswered(reply: object) -> bool:
    """Say whether `reply` stands for one that did not come: then the command may have worked."""
    return isinstance(reply, ConnectionLost) and not isinstance(
        reply.__cause__, ResponseError | BusyLoadingError
    )


def ends_connection(reply: object) -> bool:
    """Say whether nothing more is to be asked on the connection: it is lost, or signed out."""
    return isinstance(reply, ConnectionLost) or (
        isinstance(reply, LayerError) and isinstance(reply.__cause__, AuthenticationError)
    )


def has_moved(reply: object) -> bool:
    """Say whether another node of the cluster has to be asked, and this one did nothing."""
    return isinstance(reply, LayerError) and isinstance(reply.__cause__, MovedError)


def is_denied(reply: object) -> bool:
    """Say whether the server's ACL forbids us what `reply` is the answer to."""
    return isinstance(reply, LayerError) and isinstance(reply.__cause__, NoPermissionError)


def group_is_missing(reply: object) -> bool:
    """Say whether `reply` means that somebody deleted the group or the stream."""
    return says(reply, "NOGROUP", "no longer exists", "no such key", "requires the key to exist")


def _distrusted(where: str, error: ssl.SSLCertVerificationError) -> LayerError:
    return LayerError(
        f"the TLS certificate of Redis at {where} is refused ({error.verify_message}); check the "
        "host's name, and give the file of its authority as ssl_ca_certs",
        may_pass=True,
    )


def _meaning(
    code: str, said: str, where: str, error: Exception, *, is_node: bool, also: str
) -> LayerError:
    if code in _DENIED:
        return LayerError(f"Redis at {where} refuses us ({said}); {_RIGHTS}", may_pass=True)
    if isinstance(error, AskError) and not is_node:
        return LayerError(
            f"Redis at {where} is one node of a cluster ({said}); add cluster=1 to the options "
            "of the URL"
        )
    if code in _NOT_HERE:
        return ConnectionLost(f"Redis at {where} does not serve now ({said}): {_NOT_HERE[code]}")
    if code in _NOT_NOW:
        return LayerError(
            f"Redis at {where} refuses for now ({said}): {_NOT_NOW[code]}", may_pass=True
        )
    if not isinstance(error, ResponseError):
        return lost(where, said, also)
    return LayerError(f"Redis at {where} answered with an error: {said}")


def _code(error: Exception, said: str) -> str:
    """Return the word by which the server tells a kind of error, or nothing."""
    for kind, code in _CLASSES:
        if isinstance(error, kind):
            return code
    found = _CODE.match(said)
    if found:
        return found[1]
    return "NOPERM" if _IN_SCRIPT in said else ""
