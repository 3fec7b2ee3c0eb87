"""The wheel, as users get it, built of this checkout."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def built_wheel(folder: Path) -> Path:
    """Build it in `folder`, with what is installed here and nothing from elsewhere."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    alone = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder)]
    subprocess.run([*pip, *alone, str(ROOT)], check=True)
    (built,) = folder.glob("acked-*.whl")
    return built
