"""The API of encode/broadcaster over `acked`: change the import, keep the application.

```python
from acked.compat.broadcaster import Broadcast

broadcast = Broadcast("redis://localhost:6379")
```

What is better than in the original: a lost connection is made again and `event.gap` says that
messages may have been missed; buffers are bounded; disconnecting wakes the subscribers; errors are
raised where they happen. On asyncio. The guide *Move from broadcaster* has all of it.
"""

from typing import Final

from acked.compat.broadcaster._base import Broadcast, BroadcastBackend, Event

__version__: Final = "0.3.1"
"""The release of the original whose API this is."""

__all__ = ("Broadcast", "BroadcastBackend", "Event")
