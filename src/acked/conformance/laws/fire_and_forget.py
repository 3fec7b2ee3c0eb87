"""All the laws for fire-and-forget layers, as one class to inherit."""

from typing import ClassVar

import pytest

from acked.conformance.laws.fire_and_forget_delivery import FireAndForgetDeliveryLaws
from acked.conformance.laws.fire_and_forget_life import (
    FireAndForgetFaultLaws,
    FireAndForgetLifeLaws,
)
from acked.conformance.laws.overflow import OverflowLaws

__all__ = ("FireAndForgetLaws",)


class FireAndForgetLaws(
    FireAndForgetDeliveryLaws, OverflowLaws, FireAndForgetLifeLaws, FireAndForgetFaultLaws
):
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
