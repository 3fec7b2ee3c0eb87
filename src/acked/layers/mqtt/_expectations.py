"""Whether a session hears what this process publishes to its topics.

Mosquitto grants a subscription to a topic that the user may not read, accepts what is published to
it, says nothing, and delivers nothing. What this process itself had accepted for a topic of its own
group must arrive: where the first such message does not, the topic cannot be read.
"""

from typing import Final

from acked.types import MAX_TOPIC_BYTES

__all__ = ("Expectations",)

TOPICS_REMEMBERED: Final = 4096


class Expectations:
    """Topics to which something was published, and of which nothing has arrived yet."""

    def __init__(self, patience: float) -> None:
        self._patience: Final = patience
        self._due: dict[str, float] = {}
        self._decided: set[str] = set()
        """Topics of which something arrived, or of which was told that nothing does."""

    def __len__(self) -> int:
        return len(self._due)

    def publish(self, topic: str, now: float) -> bool:
        """Note that the broker accepted a message for `topic`; True if that is to be watched."""
        if topic in self._decided or topic in self._due:
            return False
        self._due[topic] = now + self._patience
        return True

    def arrive(self, topic: str) -> None:
        """Note that something arrived; it may be faster than the answer to its publish."""
        if topic not in self._decided and len(topic) <= MAX_TOPIC_BYTES:  # what nobody here has
            self._due.pop(topic, None)
            self._decide(topic)

    def due(self) -> float:
        """Return when the next topic should have been heard of; infinity where there is none."""
        return min(self._due.values(), default=float("inf"))

    def postpone(self, now: float) -> None:
        """Start anew: what was published may wait behind what is held, or for a connection."""
        self._due = dict.fromkeys(self._due, now + self._patience)

    def take_overdue(self, now: float) -> list[str]:
        """Return, once, the topics that should have been heard of by now."""
        overdue = [topic for topic, due in self._due.items() if due <= now]
        for topic in overdue:
            del self._due[topic]
            self._decide(topic)
        return overdue

    def _decide(self, topic: str) -> None:
        if len(self._decided) >= TOPICS_REMEMBERED:
            self._decided.clear()
        self._decided.add(topic)
