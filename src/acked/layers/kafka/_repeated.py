"""Headers of one name several times, which Kafka has and a mapping has not.

The last value stands for all, as Kafka's own clients have it. The earlier ones are, in order, in
one more header, `kafka-repeated`, as JSON: `[["name", "value"], ...]`. Whoever publishes a record
with it, a forwarder or who writes dead letters, publishes them as they came.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import msgspec

__all__ = ("REPEATED", "Pairs", "as_mapping", "as_pairs")

Pairs: TypeAlias = Sequence[tuple[str, str]]

REPEATED: Final = "kafka-repeated"


def as_mapping(pairs: Pairs) -> dict[str, str]:
    """Return `pairs` by name, and what that leaves out in one more."""
    found = dict(pairs)
    if len(found) == len(pairs) or REPEATED in found:
        return found
    seen: set[str] = set()
    earlier: list[tuple[str, str]] = []
    for name, value in reversed(pairs):
        if name in seen:
            earlier.append((name, value))
        seen.add(name)
    return found | {REPEATED: json.dumps(earlier[::-1])}


def as_pairs(headers: Mapping[str, str]) -> Pairs:
    """Return `headers` as they are to be sent; the other way round."""
    earlier = _earlier(headers)
    if not earlier:
        return tuple(headers.items())
    return (*earlier, *((name, value) for name, value in headers.items() if name != REPEATED))


def _earlier(headers: Mapping[str, str]) -> Pairs:
    """Return the earlier values of names in `headers`; none where `REPEATED` is not of our writing.

    Then it is a header as any other.
    """
    text = headers.get(REPEATED)
    if text is None:
        return ()
    try:
        pairs = msgspec.convert(json.loads(text), list[tuple[str, str]])
    except (ValueError, RecursionError, msgspec.DecodeError):  # no ValueError before 0.21
        return ()
    is_ours = json.dumps(pairs) == text and headers.keys() - {REPEATED} >= dict(pairs).keys()
    return pairs if is_ours else ()
