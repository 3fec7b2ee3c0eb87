"""Nothing that is tested with, or started, has a hole that was known when this was last written.

No database is asked: CI has none at hand. Each entry is a package or an image, the first version
without the hole, and the hole's name. Each was compared with the hole's own record at the CVE
programme (two of starlette and urllib3 with their advisories) on 2026-11-27: what could not be
found there is not here. Whoever reads of a hole adds it.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.version import Version

ROOT = Path(__file__).parents[2]

PACKAGES: dict[str, list[tuple[str, str]]] = {
    "asyncpg": [("0.21.0", "CVE-2020-17446")],
    "certifi": [("2024.7.4", "CVE-2024-39689")],
    "filelock": [("3.20.1", "CVE-2025-68146")],
    "h11": [("0.16.0", "CVE-2025-43859")],
    "idna": [("3.7", "CVE-2024-3651")],
    "jinja2": [("3.1.6", "CVE-2025-27516"), ("3.1.5", "CVE-2024-56326")],
    "pydantic": [("2.4.0", "CVE-2024-3772")],
    "pygments": [("2.15.1", "CVE-2022-40896")],
    "pymdown-extensions": [("10.0", "CVE-2023-32309")],
    "redis": [("4.5.3", "CVE-2023-28858"), ("4.5.4", "CVE-2023-28859")],
    "requests": [("2.32.4", "CVE-2024-47081")],
    "setuptools": [("78.1.1", "CVE-2025-47273")],
    "starlette": [
        ("1.0.1", "CVE-2026-48710"),
        ("0.49.1", "CVE-2025-62727"),  # GHSA-7f5h-v6xp-fcq8
        ("0.47.2", "CVE-2025-54121"),
    ],
    "urllib3": [("2.6.3", "CVE-2026-21441"), ("2.6.0", "CVE-2025-66418")],
    "virtualenv": [("20.26.6", "CVE-2024-53899")],
    "websockets": [("9.1", "CVE-2021-33880")],
}
IMAGES: dict[str, list[tuple[str, str]]] = {
    "apache/kafka": [("3.9.1", "CVE-2025-27817"), ("3.9.1", "CVE-2025-27818")],
    "eclipse-mosquitto": [("2.0.19", "CVE-2024-10525"), ("2.0.19", "CVE-2024-8376")],
    "postgres": [("15.14", "CVE-2025-8714"), ("15.15", "CVE-2025-12818")],
    # Older lines have cures of their own; the records name these only.
    "redis": [("8.6.3", "CVE-2026-23479"), ("8.2.2", "CVE-2025-49844")],
}
FILES = ("constraints.txt", "constraints-lowest.txt")


def holes_of(
    known: dict[str, list[tuple[str, str]]], used: dict[str, str]
) -> Iterator[tuple[str, str, str]]:
    for name, version in used.items():
        for cured, hole in known.get(name, ()):
            if Version(version) < Version(cured):
                yield name, version, hole


def pinned(text: str) -> dict[str, str]:
    pins = re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", text, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pins}


def images() -> dict[str, str]:
    text = "\n".join(file.read_text() for file in ROOT.glob("compose/*/compose.yaml"))
    return dict(re.findall(r"image: ([\w/-]+):([\d.]+)", text))


@pytest.mark.parametrize("file", FILES)
def test_no_version_that_is_tested_has_a_known_hole(file: str) -> None:
    used = pinned((ROOT / file).read_text())
    assert len(used) > 10
    assert list(holes_of(PACKAGES, used)) == []


def test_no_image_that_is_started_has_a_known_hole() -> None:
    assert images().keys() == IMAGES.keys()
    assert list(holes_of(IMAGES, images())) == []


def test_a_version_with_a_hole_is_noticed() -> None:
    used = pinned("Jinja2==3.1.5\nh11==0.16.0\npymdown_extensions==9.9\n")
    assert list(holes_of(PACKAGES, used)) == [
        ("jinja2", "3.1.5", "CVE-2025-27516"),
        ("pymdown-extensions", "9.9", "CVE-2023-32309"),
    ]
    assert [hole for *_, hole in holes_of(IMAGES, {"redis": "7.0.15"})] == [
        "CVE-2026-23479",
        "CVE-2025-49844",
    ]


def test_each_hole_is_of_something_in_use_or_once_was() -> None:
    used = {name for file in FILES for name in pinned((ROOT / file).read_text())}
    assert len(PACKAGES.keys() & used) > 8
