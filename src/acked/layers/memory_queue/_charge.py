"""What counted of the deliveries of a record to a group."""

from typing import Final

import msgspec

__all__ = ("NOTHING", "Charge")


class Charge(msgspec.Struct, frozen=True, gc=False):
    """What counted of a record's deliveries to a group so far."""

    deliveries: int = 0
    failures: int = 0
    """Of these, how many ended by a nack."""
    ended_alone: int = 0
    """How many since the last nack were noted as handled alone, and ended by themselves."""

    def after(self, *, alone: bool, charge: bool = True, failed: bool = False) -> "Charge":
        """Return what counts after one more delivery, which was handled `alone` or not."""
        return Charge(
            self.deliveries + charge,
            self.failures + failed,
            0 if failed else self.ended_alone + (alone and charge),
        )


NOTHING: Final = Charge()
