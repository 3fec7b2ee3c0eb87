"""`python -m tests.crash` in small: every layer, every kind of fault; the large runs are by hand.

The runs go on side by side, since each waits most of its time for leases and sessions to end.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.crash.runs import DEBT_LAYERS, NEWS_LAYERS, Faults, Report, run
from tests.fix_brokers import or_skip

SMALL = Faults(restarts=1, cuts=2, kills=1)

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest) -> Iterator[Mapping[str, Future[tuple[Report, bool]]]]:
    """The small runs of the layers whose tests are to be made, under way."""
    items = [one for one in request.session.items if isinstance(one, pytest.Function)]
    here = [one.callspec.params for one in items if one.module is request.module]
    layers = dict.fromkeys(str(params["layer"]) for params in here)
    with ThreadPoolExecutor(max_workers=len(layers)) as pool:
        yield {layer: pool.submit(run, layer, 2000, SMALL) for layer in layers}


@pytest.mark.parametrize("layer", DEBT_LAYERS)
def test_every_accepted_message_is_acked_whatever_breaks(
    layer: str, runs: Mapping[str, Future[tuple[Report, bool]]]
) -> None:
    report, held = or_skip(DEBT_LAYERS[layer].broker, runs[layer].result)
    assert held, f"{report}"
    assert report["accepted"] == report["acked"] == 2000
    assert report["faults"] == {"restarts": 1, "cuts": 2, "kills": 1}


@pytest.mark.parametrize("layer", NEWS_LAYERS)
def test_no_listener_misses_a_message_without_a_gap(
    layer: str, runs: Mapping[str, Future[tuple[Report, bool]]]
) -> None:
    report, held = or_skip(NEWS_LAYERS[layer] or layer, runs[layer].result)
    assert held, f"{report}"
    assert report["published"] == 2000
    assert report["unexplained"] == 0
