"""The verdicts that the documentation shows are of the laws there are, on the layers there are."""

import inspect
from importlib.metadata import entry_points

from acked.conformance import AckLayerLaws, FireAndForgetLaws, law_of
from acked.conformance.verdicts import Verdict, read
from tests.meta.source import ROOT

RECORD = ROOT / "docs/reference/conformance.json"
HOW = "run: pytest tests/conformance --acked-results docs/reference/conformance.json"


def ids() -> set[str]:
    laws = [
        law_of(member)
        for suite in (AckLayerLaws, FireAndForgetLaws)
        for _, member in inspect.getmembers(suite)
    ]
    return {one for law in laws if law is not None for one in law.ids}


def test_all_eight_layers_are_on_record() -> None:
    ours = {e.value.split(":")[1].split(" ")[0] for e in entry_points(group="acked.layers")}
    assert ours <= set(read(RECORD)), HOW


def test_every_law_is_on_record_and_none_that_is_no_more() -> None:
    recorded = {law for laws in read(RECORD).values() for law in laws}
    assert recorded == ids(), HOW


def test_no_law_is_broken_on_any_layer() -> None:
    broken = [
        (layer, law)
        for layer, laws in read(RECORD).items()
        for law, verdict in laws.items()
        if verdict is Verdict.BROKEN
    ]
    assert broken == []
