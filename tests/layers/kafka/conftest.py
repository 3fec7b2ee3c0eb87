"""What an old client leaves behind, and the tests here do not complain of."""

import gc
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FORGETS = tuple(map(int, version("aiokafka").split(".")[:2])) < (0, 14)
"""aiokafka 0.13 forgets connections that were refused or cancelled while they were made."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the garbage collector find them in silence."""
    for item in items:
        if FORGETS and HERE in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore::ResourceWarning"))


@pytest.fixture(autouse=True)
def nothing_is_left_to_the_next_test() -> Iterator[None]:
    """Find what was forgotten before the next test, which is not to blame."""
    yield
    if FORGETS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
