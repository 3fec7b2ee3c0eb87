"""The channels of starlette_web over `acked`: change the imports, keep the application.

```python
from acked.compat.starlette_web.common.channels.base import Channel
from acked.compat.starlette_web.common.channels.layers.local_memory import InMemoryChannelLayer
```

The modules are called as in the original. What is better: buffers are bounded, a lost connection
is made again and `event.gap` says that messages may have been missed, closing a channel ends its
subscribers, several groups and patterns are delivered, nothing is unpickled unless you say so.
The guide *Move from starlette_web* has all of it.
"""
