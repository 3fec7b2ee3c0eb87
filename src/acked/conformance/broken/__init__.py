"""The suite is tested: layers with one plausible bug each, and the law that is to find it.

`python -m acked.conformance.broken` tries the laws on each of them and prints the kill matrix.
"""

from types import ModuleType
from typing import Final

from acked.conformance.broken import (
    connections,
    flow,
    leases,
    lifecycle,
    news,
    publishing,
    settlement,
)
from acked.conformance.broken.catalogue import CATALOGUE, Broken

__all__ = ("CATALOGUE", "CONCERNS", "Broken")

CONCERNS: Final[tuple[ModuleType, ...]] = (
    *(settlement, leases, connections, flow),
    *(publishing, lifecycle, news),
)
"""Where the broken layers are: importing them enters them into the catalogue."""
