"""What must happen on the server in one step, as Lua: one file in `scripts/` for each.

A group's state is where Redis keeps it: the pending entries, their owners and their delivery
counts; and in the keys of `GroupKeys` beside the
stream.

What is given back belongs to the consumer `FREE`, which nobody reads as: so the holder that gave
it back is fenced like any other former holder, by not being its owner. So does what waits for an
earlier entry of its key to `PARKED`, where a consumer asked for the order of keys.

What was published with a delay is an entry as any other, with a field that says so before all
others (`DELAY`). A group comes to it in its turn, and gives it back as after a nack, until it is
due: so each group does for itself, a new one too, and nothing waits outside of the stream.

The delivery count of an entry tells more than deliveries: in its millions how many of these were
nacked (`FAILURE`). So 2000003 was delivered three times and nacked twice; no key more has to be
kept, and none found at an ack. Beyond that, in multiples of `ALONE`, is a number that is odd while
a delivery is noted as handled alone; a claim after such a lease has ended makes it the next even
one, so its half is how many ended like that since the last nack.

A *lease* is the entry and the delivery count it was handed out with: `id/count`, or only `id` for
the first delivery. It is still the caller's if he owns the entry and the count is the same.
Every script gets `GroupKeys.keys`, and ARGV[1] the group, ARGV[2] the consumer; but
for those that are about a stream and all its groups: they say what they get. What a script
does is bounded by some thousand entries: the server does nothing else meanwhile.
"""

from importlib.resources import files
from typing import Final

from acked.layers._redis.scripts import load_script

__all__ = (
    "ACK",
    "ACK_TOGETHER",
    "ALONE",
    "BROWSE",
    "CLAIM",
    "CREATE",
    "DEAD_LETTER",
    "DELAY",
    "DELETE",
    "EXTEND",
    "FAILURE",
    "FREE",
    "LEAVE",
    "NOTE_ALONE",
    "PARKED",
    "PUBLISH_ONCE",
    "READ",
    "READ_IN_ORDER",
    "RECOVER",
    "REMOVE",
    "REQUEUE",
    "TRIM",
)

FREE: Final = b"acked-given-back"
"""The consumer that owns what was given back and waits to be claimed."""

PARKED: Final = b"acked-parked"
"""The consumer that owns what may not come before an earlier entry of its key is settled."""

DELAY: Final = b"acked-delay"
"""The first field of what was published with a delay: milliseconds, from those of its id on."""

FAILURE: Final = 1_000_000
ALONE: Final = 1_000_000_000_000
"""What a delivery count grows by; Lua is exact beyond ten thousand times that."""

_FOLDER: Final = files("acked.layers.redis_streams") / "scripts"
_CONSTANTS: Final = {
    "FREE": FREE.decode(),
    "PARKED": PARKED.decode(),
    "DELAY": DELAY.decode(),
    "ALONE": str(ALONE),
}

ACK: Final = load_script(_FOLDER, "ack", _CONSTANTS)
ACK_TOGETHER: Final = load_script(_FOLDER, "ack_together", _CONSTANTS)
BROWSE: Final = load_script(_FOLDER, "browse", _CONSTANTS)
CLAIM: Final = load_script(_FOLDER, "claim", _CONSTANTS)
CREATE: Final = load_script(_FOLDER, "create", _CONSTANTS)
DEAD_LETTER: Final = load_script(_FOLDER, "dead_letter", _CONSTANTS)
DELETE: Final = load_script(_FOLDER, "delete", _CONSTANTS)
EXTEND: Final = load_script(_FOLDER, "extend", _CONSTANTS)
LEAVE: Final = load_script(_FOLDER, "leave", _CONSTANTS)
NOTE_ALONE: Final = load_script(_FOLDER, "note_alone", _CONSTANTS)
PUBLISH_ONCE: Final = load_script(_FOLDER, "publish_once", _CONSTANTS)
READ: Final = load_script(_FOLDER, "read", _CONSTANTS)
READ_IN_ORDER: Final = load_script(_FOLDER, "read_in_order", _CONSTANTS)
RECOVER: Final = load_script(_FOLDER, "recover", _CONSTANTS)
REMOVE: Final = load_script(_FOLDER, "remove", _CONSTANTS)
REQUEUE: Final = load_script(_FOLDER, "requeue", _CONSTANTS)
TRIM: Final = load_script(_FOLDER, "trim", _CONSTANTS)
