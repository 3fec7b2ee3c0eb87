"""The laws are complete, and each says which it is; what is left open is left open by name."""

import asyncio
import gc
from collections import Counter
from contextlib import nullcontext
from types import MappingProxyType
from typing import Final

import pytest

from acked.conformance import AckLayerLaws, FireAndForgetLaws, Law, VirtualHarness, law_of
from acked.conformance import law as as_law
from acked.conformance.law import take_remarks
from acked.conformance.laws.ack import OPEN
from tests.conformance.correct_layers import OneAtATime

COUNTS: Final = {
    "A": 13,
    "B": 15,
    "C": 23,
    "D": 7,
    "E": 7,
    "F": 9,
    "G": 12,
    "H": 10,
    "I": 5,
    "J": 1,
}
"""How many laws there are of each letter."""
IDS: Final = frozenset(f"{letter}{n + 1}" for letter, count in COUNTS.items() for n in range(count))


def laws_of(suite: type) -> dict[str, tuple[Law, str]]:
    """Return the laws of `suite` by the names of their tests, with their docstrings."""
    found = {name: getattr(suite, name) for name in dir(suite) if name.startswith("test_")}
    described = {name: (law_of(test), test.__doc__ or "") for name, test in found.items()}
    return {name: (law, words) for name, (law, words) in described.items() if law is not None}


@pytest.mark.parametrize("suite", [AckLayerLaws, FireAndForgetLaws])
def test_every_test_of_a_suite_is_a_law(suite: type) -> None:
    tests = {name for name in dir(suite) if name.startswith("test_")}
    assert tests == set(laws_of(suite))


@pytest.mark.parametrize("suite", [AckLayerLaws, FireAndForgetLaws])
def test_every_law_is_known_and_its_docstring_begins_with_its_ids(suite: type) -> None:
    for name, (law, words) in laws_of(suite).items():
        assert set(law.ids) <= IDS, name
        assert words.startswith(f"{', '.join(law.ids)}: "), name


@pytest.mark.parametrize("suite", [AckLayerLaws, FireAndForgetLaws])
def test_no_law_hides_another_one_of_its_name(suite: type) -> None:
    defined = Counter(
        name for part in suite.__mro__ for name in vars(part) if name.startswith("test_")
    )
    assert [name for name, count in defined.items() if count > 1] == []


def test_what_no_law_tries_on_ack_layers_is_left_open_with_a_reason() -> None:
    tried = {one for law, _ in laws_of(AckLayerLaws).values() for one in law.ids}
    assert tried | set(OPEN) == IDS
    assert tried & set(OPEN) == set()
    assert all(OPEN.values())


def test_what_a_harness_cannot_give_is_said_with_its_reason() -> None:
    class Lacking(VirtualHarness):
        lacks = MappingProxyType({"busy settle": "it asks nobody", "wipe": "it keeps nothing"})
        busy = forbid = wipe = staticmethod(nullcontext)

    harness = Lacking(lambda clock: OneAtATime(clock=clock))
    can = harness.layer().capabilities

    def reason(*hooks: str) -> str | None:
        return Law((), (), (), hooks).reason_not_to_try(harness, can)

    assert reason("busy publish", "forbid settle") is None
    assert reason("busy settle") == "not tried: the harness has no busy settle: it asks nobody"
    words = "not tried: the harness has no cut, wipe: it keeps nothing"
    assert reason("cut", "busy publish", "wipe") == words


async def of_ours() -> None:
    raise OSError


@pytest.mark.anyio
@pytest.mark.parametrize("is_ours", [False, True])
async def test_what_a_client_forgot_breaks_no_law_and_what_the_layer_did_does(is_ours) -> None:
    loop, told = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _, context: told.append(context["exception"]))

    class Laws:
        @as_law("A1")
        async def test_something(self, harness) -> None:
            failing = of_ours() if is_ours else asyncio.open_unix_connection("/nowhere")
            await asyncio.wait([asyncio.ensure_future(failing)])

    take_remarks()
    await Laws().test_something(VirtualHarness(lambda clock: OneAtATime(clock=clock)))
    gc.collect()
    assert [type(one) for one in told] == [OSError] * is_ours
    assert len(take_remarks()) == (not is_ours)
