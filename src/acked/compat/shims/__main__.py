"""Print the folder to put first on PYTHONPATH: `PYTHONPATH=$(python -m acked.compat.shims)`."""

import sys

from acked.compat._aliases import SHIMS

sys.stdout.write(f"{SHIMS.resolve()}\n")
