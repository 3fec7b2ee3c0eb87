"""The same as `backends`: in the released original they are found here."""

import sys

from acked.compat._aliases import Aliases
from acked.compat.broadcaster import backends

# Other words for the same folder: who walks the packages looks at no path twice.
__path__ = [f"{folder}/." for folder in backends.__path__]

sys.meta_path.insert(0, Aliases(__name__, backends.__name__))
