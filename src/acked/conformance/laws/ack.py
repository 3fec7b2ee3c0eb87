"""All the laws for ack-capable layers, as one class to inherit."""

from collections.abc import Mapping
from typing import ClassVar, Final

import pytest

from acked.conformance.laws.acknowledgement import AcknowledgementLaws
from acked.conformance.laws.again import AgainLaws
from acked.conformance.laws.attempts import AttemptLaws
from acked.conformance.laws.batches import BatchLaws
from acked.conformance.laws.browsing import BrowsingLaws
from acked.conformance.laws.claims import ClaimLaws
from acked.conformance.laws.company import CompanyLaws
from acked.conformance.laws.conduct import ConductLaws
from acked.conformance.laws.dead_letters import DeadLetterLaws
from acked.conformance.laws.delays import DelayLaws
from acked.conformance.laws.delivery import DeliveryLaws
from acked.conformance.laws.expiry import ExpiryLaws
from acked.conformance.laws.faults import FaultLaws
from acked.conformance.laws.fidelity import FidelityLaws
from acked.conformance.laws.flow import FlowLaws
from acked.conformance.laws.giving_back import GivingBackLaws
from acked.conformance.laws.interrupted import InterruptedLaws
from acked.conformance.laws.key_order import KeyOrderLaws
from acked.conformance.laws.last_chance import LastChanceLaws
from acked.conformance.laws.leases import LeaseLaws
from acked.conformance.laws.letters import LetterLaws
from acked.conformance.laws.lifecycle import LifecycleLaws
from acked.conformance.laws.likeness import LikenessLaws
from acked.conformance.laws.modelled import ModelledLaws
from acked.conformance.laws.names import NameLaws
from acked.conformance.laws.observability import ObservabilityLaws
from acked.conformance.laws.ordering import OrderingLaws
from acked.conformance.laws.patience import PatienceLaws
from acked.conformance.laws.priority import PriorityLaws
from acked.conformance.laws.publishing import PublishingLaws
from acked.conformance.laws.publishing_later import PublishingLaterLaws
from acked.conformance.laws.reconnects import ReconnectLaws
from acked.conformance.laws.refusals import RefusalLaws
from acked.conformance.laws.scheduled import ScheduledLaws
from acked.conformance.laws.several import SeveralLaws
from acked.conformance.laws.sizes import SizeLaws
from acked.conformance.laws.stale import StaleLaws
from acked.conformance.laws.traces import TraceLaws
from acked.conformance.laws.wall_clocks import WallClockLaws

__all__ = ("OPEN", "AckLayerLaws")

OPEN: Final[Mapping[str, str]] = {
    "B3": "of fire-and-forget layers; a group is owed what comes after it exists (B7)",
    "B6": "no ack-capable layer subscribes by pattern",
    "B9": "of fire-and-forget layers",
    "B11": "of fire-and-forget layers",
    "C14": "gaps are made in each broker's own way: in the tests of the layer",
    "E2": "handlers side by side come with the workers",
    "E3": "handlers side by side come with the workers",
    "E5": "handlers side by side come with the workers",
    "E6": "handlers side by side come with the workers",
    "G2": "handlers at a shutdown come with the workers; what a consumer gives back is C2",
    "G10": "what a killed process leaves on the broker needs an oracle, which is yet to come",
    "H7": "trimming is each broker's own: in the tests of the layer",
    "H8": "of fire-and-forget layers",
    "H10": "clusters are each one's own: in the tests of the layer",
    "I2": "events are yet to come",
    "I3": "trace context is yet to come",
}
"""The laws that are not tried here, and why."""


class AckLayerLaws(
    FidelityLaws,
    LikenessLaws,
    PublishingLaws,
    PublishingLaterLaws,
    ExpiryLaws,
    PriorityLaws,
    ScheduledLaws,
    DeliveryLaws,
    AcknowledgementLaws,
    BatchLaws,
    LeaseLaws,
    StaleLaws,
    SizeLaws,
    AgainLaws,
    ClaimLaws,
    NameLaws,
    DelayLaws,
    SeveralLaws,
    ConductLaws,
    AttemptLaws,
    LastChanceLaws,
    GivingBackLaws,
    DeadLetterLaws,
    LetterLaws,
    BrowsingLaws,
    InterruptedLaws,
    OrderingLaws,
    KeyOrderLaws,
    FlowLaws,
    LifecycleLaws,
    FaultLaws,
    ReconnectLaws,
    RefusalLaws,
    ObservabilityLaws,
    PatienceLaws,
    CompanyLaws,
    TraceLaws,
    WallClockLaws,
    ModelledLaws,
):
    """What every ack-capable layer promises, as far as its `capabilities` claim it.

    ```python
    class TestFolders(AckLayerLaws):
        @pytest.fixture
        def harness(self, tmp_path):
            return FolderHarness(tmp_path)
    ```

    The laws run on asyncio; override the fixture `anyio_backend` for more.
    """

    pytestmark: ClassVar[list[pytest.MarkDecorator]] = [pytest.mark.anyio]

    @pytest.fixture
    def anyio_backend(self) -> str:
        """Return the event loop that the laws are tried on."""
        return "asyncio"
