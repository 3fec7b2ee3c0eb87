"""Where `acked` and `python -m acked` begin."""

import sys

__all__ = ("main",)

NEEDED = frozenset({"click", "rich"})


def main() -> None:
    """Run the command that the arguments name, and end the program."""
    try:
        from acked.cli.commands import acked  # noqa: PLC0415 - an extra, and may be missing
    except ModuleNotFoundError as error:
        if error.name not in NEEDED:
            raise
        words = f"acked: its commands need {error.name}: pip install 'acked[cli]'"
        print(words, file=sys.stderr)  # noqa: T201 - click, which would print it, may be missing
        sys.exit(2)
    acked.main(prog_name="acked")
