"""The suite is tested: layers with one plausible bug each, and the law that is to find it.

`python -m tests.broken_layers`, in a checkout, tries the laws on each of them and prints the kill
matrix. It is not installed with the package: whoever changes the suite has a checkout.
"""

from tests.broken_layers import (
    again,
    alike,
    bookkeeping,
    broadcast,
    browsing,
    charges,
    claims,
    conduct,
    connections,
    delays,
    expiry,
    flow,
    halves,
    keeping,
    key_order,
    last_chance,
    leases,
    lifecycle,
    long_ago,
    names,
    placing,
    priority,
    publishing,
    publishing_later,
    recovery,
    refusals,
    schedules,
    second_thoughts,
    settlement,
    several,
    sizes,
    values,
    waiting,
    wall_clocks,
)
from tests.broken_layers.catalogue import CATALOGUE, Broken

__all__ = ("CATALOGUE", "CONCERNS", "Broken")

CONCERNS = (
    *(settlement, leases, connections, flow, publishing, lifecycle, broadcast),
    *(sizes, again, claims, conduct, last_chance, key_order),
    *(values, names, delays, several, halves, browsing),
    *(recovery, bookkeeping, charges, waiting, keeping, publishing_later, expiry, priority),
    *(refusals, wall_clocks, second_thoughts, schedules, alike, long_ago, placing),
)
"""Where the broken layers are: importing them enters them into the catalogue."""
