"""Run the examples of a Markdown page as a reader would.

- A fence `python title="worker.py"` is a file: it is written to the current folder.
- A fence `console` is a session: each `$ python worker.py` is run, and prints what is shown.
- A fence `python` alone runs at once; those of one page share their names.
- `sh` and the rest are for reading only.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from sybil import Example, Region, Sybil
from sybil.document import Document
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown.lexers import RawFencedCodeBlockLexer
from sybil.region import Lexeme

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
REDIS = "redis://localhost"
"""Where the pages say that Redis is; the run's own server takes its place."""

_FENCE = re.compile(r'(?P<language>python|console)(?: title="(?P<title>[^"]+)")?$\n', re.MULTILINE)
_TOOK = re.compile(r"(?<= in )\d+\.\d+s$", re.MULTILINE)
"""How long pytest took; never twice the same."""


def run_page(page: Path, *, redis: str = REDIS) -> None:
    """Run the examples of `page` in the current folder, in their order."""

    def fences(document: Document) -> Iterator[Region]:
        for region in RawFencedCodeBlockLexer(_FENCE)(document):
            shown = region.lexemes["source"]
            source = shown.replace(REDIS, redis)
            region.parsed = Lexeme(source, shown.offset, shown.line_offset)
            region.evaluator = evaluate
            yield region

    document = Sybil(parsers=[fences]).parse(page)
    document.namespace["__name__"] = "__main__"
    for example in document.examples():
        example.evaluate()


def evaluate(example: Example) -> None:
    """Write, run or rehearse one example."""
    language, title = (example.region.lexemes[name] for name in ("language", "title"))
    if title:
        Path(title).write_text(example.parsed)
    elif language == "console":
        rehearse(example.parsed)
    else:
        PythonEvaluator()(example)


def rehearse(session: str) -> None:
    """Run each command of a console session and compare what it prints."""
    for part in re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        program, *arguments = command.split()
        assert program == "python", f"only python is run in a console session, not {program}"
        done = subprocess.run(
            [sys.executable, *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "PYTHONWARNINGS": "error"},
        )
        assert not done.stderr, f"{command}:\n{done.stderr}"
        same = _TOOK.sub("", done.stdout) == _TOOK.sub("", shown)
        assert same, f"{command} printed:\n{done.stdout}"
