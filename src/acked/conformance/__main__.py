"""`python -m acked.conformance URL [--results FILE] [--require-all]`: try the laws on a layer."""

import os
import subprocess
import sys
from pathlib import Path

import click

from acked.conformance.plugin import URL

__all__ = ("main",)


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("url")
@click.option("--results", type=click.Path(path_type=Path), help="Write the verdicts as JSON.")
@click.option("--require-all", is_flag=True, help="Fail if a law was not tried for want of a hook.")
@click.argument("pytest_options", nargs=-1, type=click.UNPROCESSED)
def main(
    url: str, results: Path | None, pytest_options: tuple[str, ...], *, require_all: bool
) -> None:
    """Try the laws that need no hooks on the layer of URL, and print what became of each.

    With - the URL is what ACKED_URL says in the environment, for one with a password: other users
    of the machine can read a command line. Any option of pytest may follow. Exits with 0 if every
    law that was tried holds.
    """
    # A process of its own: pytest must come before the laws to show what an assert compared. And
    # no configuration: the folder that this is started in may be anybody's.
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, "--acked-layer", "-"]
    command += ["-q", "--no-header", "-rf", "--tb=short", "-p", "no:cacheprovider"]
    keep = ["--acked-results", str(results)] if results is not None else []
    keep += ["--acked-require-all"] if require_all else []
    if url == "-" and URL not in os.environ:
        raise click.UsageError(f"- stands for {URL} in the environment, which is not there")
    named = os.environ if url == "-" else {**os.environ, URL: url}
    sys.exit(subprocess.call([*command, *keep, *pytest_options], env=named))  # noqa: S603 - our own words


if __name__ == "__main__":
    main()
