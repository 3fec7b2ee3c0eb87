"""Print the folder to put first on PYTHONPATH: `PYTHONPATH=$(python -m acked.compat.shims)`."""

import sys
from pathlib import Path

sys.stdout.write(f"{Path(__file__).resolve().parent}\n")
