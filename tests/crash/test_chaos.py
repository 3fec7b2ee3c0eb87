"""`python -m tests.crash.chaos` in small: poison, failures, kills, restarts, all at once."""

import pytest

from tests.crash.chaos import LAYERS, MOST, Crowd, run
from tests.fix_brokers import or_skip

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]


@pytest.mark.parametrize("layer", LAYERS)
def test_the_poison_alone_is_given_up_and_all_else_is_handled(layer: str) -> None:
    crowd = Crowd(500, 2) if layer == "kafka" else Crowd(1000, 4)  # its members come and go slowly
    report, held = or_skip(LAYERS[layer] or layer, lambda: run(layer, crowd))
    assert held, f"{report}"
    assert report["dead_letters"] == crowd.poison
    assert report["innocent_dead_letters"] == report["unsettled"] == report["out_of_order"] == 0
    assert report["highest_attempt"] == MOST
