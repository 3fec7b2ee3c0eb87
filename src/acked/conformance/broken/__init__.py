"""The suite is tested: layers with one plausible bug each, and the law that is to find it.

`python -m acked.conformance.broken` tries the laws on each of them and prints the kill matrix.
"""

from types import ModuleType
from typing import Final

from acked.conformance.broken import (
    _connections,
    _flow,
    _leases,
    _lifecycle,
    _news,
    _publishing,
    _settlement,
)
from acked.conformance.broken._catalogue import CATALOGUE, Broken

__all__ = ("CATALOGUE", "CONCERNS", "Broken")

CONCERNS: Final[tuple[ModuleType, ...]] = (
    *(_settlement, _leases, _connections, _flow),
    *(_publishing, _lifecycle, _news),
)
"""Where the broken layers are: importing them enters them into the catalogue."""
