"""`python -m benchmarks.peers [NAME ...]`: see `__init__.py`."""

import argparse
import subprocess
import sys

from benchmarks.peers import FOLDER, REQUIRED


def main() -> None:
    """Make environments, and install the peers."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *REQUIRED], metavar="NAME")
    for name in parser.parse_args().names or REQUIRED:
        folder = FOLDER / name
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--upgrade"]
        subprocess.run([*pip, *REQUIRED[name]], check=True)
        print(f"{name}: {folder}")


if __name__ == "__main__":
    main()
