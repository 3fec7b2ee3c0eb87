"""All the laws for fire-and-forget layers, as one class to inherit."""

from typing import ClassVar

import pytest

from acked.conformance.laws.news import NewsLaws
from acked.conformance.laws.news_life import NewsFaultLaws, NewsLifeLaws

__all__ = ("FireAndForgetLaws",)


class FireAndForgetLaws(NewsLaws, NewsLifeLaws, NewsFaultLaws):
    """What every fire-and-forget layer promises, as far as its `capabilities` claim it.

    ```python
    class TestPigeons(FireAndForgetLaws):
        @pytest.fixture
        def harness(self):
            return PigeonHarness()
    ```

    The laws run on asyncio; override the fixture `anyio_backend` for more.
    """

    pytestmark: ClassVar[list[pytest.MarkDecorator]] = [pytest.mark.anyio]

    @pytest.fixture
    def anyio_backend(self) -> str:
        """Return the event loop that the laws are tried on."""
        return "asyncio"
