"""Names of static members: the same after a restart, and never the same twice at a time."""

from contextlib import ExitStack

from acked.layers.kafka._instances import Instances


def test_the_first_has_the_name_and_further_ones_a_number_that_is_free() -> None:
    instances = Instances("pod")
    with instances.taken("g") as first, ExitStack() as later:
        second = later.enter_context(instances.taken("g"))
        with instances.taken("g") as third, instances.taken("other") as elsewhere:
            assert (first, second, third, elsewhere) == ("pod", "pod-1", "pod-2", "pod")
            later.close()
            with instances.taken("g") as again:
                assert again == "pod-1"
    with instances.taken("g") as after:
        assert after == "pod"


def test_without_a_name_nobody_has_one() -> None:
    instances = Instances(None)
    with instances.taken("g") as one, instances.taken("g") as two:
        assert one is two is None
