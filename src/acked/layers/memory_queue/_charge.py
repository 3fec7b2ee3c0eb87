"""What counted of the deliveries of a record to a group."""

from typing import Final

import msgspec

__all__ = ("NOTHING", "Charge")


class Charge(msgspec.Struct, frozen=True, gc=False):
    """What counted of a record's deliveries to a group so far."""

    deliveries: int = 0
    failures: int = 0
    """Of these, how many ended by a nack."""
    was_alone: bool = False
    """Whether one was noted as handled alone, and neither a nack nor a release came after."""

    def after(self, *, alone: bool, charge: bool = True, failed: bool = False) -> "Charge":
        """Return what counts after one more delivery, which was handled `alone` or not."""
        ended_by_itself = charge and not failed
        return Charge(
            self.deliveries + charge,
            self.failures + failed,
            (alone or self.was_alone) and ended_by_itself,
        )


NOTHING: Final = Charge()
