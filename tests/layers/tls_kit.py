"""Certificates made for a test, by an authority that nobody knows."""

import subprocess
from pathlib import Path
from typing import NamedTuple

HERE = "IP:127.0.0.1"
ELSEWHERE = "DNS:elsewhere.example"


class Pair(NamedTuple):
    """The files of a certificate and of its key."""

    certificate: str
    key: str


class Authority:
    """Signs certificates into a folder of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self.certificate, self.key = self_signed(folder, "authority")

    def sign(
        self, name: str, *, usage: str = "serverAuth", days: int = 2, host: str = HERE
    ) -> Pair:
        """Return a certificate of `host`; with negative `days` it is over since then."""
        signed, asked, extra = (
            str(self._folder / f"{name}.{kind}") for kind in ("pem", "csr", "extra")
        )
        Path(extra).write_text(f"subjectAltName={host}\nextendedKeyUsage={usage}\n")
        key = _request(self._folder, name, "-out", asked)
        by = ["-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial"]
        files = ["-in", asked, "-extfile", extra, "-out", signed]
        openssl("x509", "-req", "-days", str(days), *by, *files)
        return Pair(signed, key)


def self_signed(folder: Path, name: str) -> Pair:
    """Return a certificate of 127.0.0.1 that nobody else has signed."""
    certificate = str(folder / f"{name}.pem")
    san = ["-addext", f"subjectAltName={HERE}"]
    return Pair(
        certificate, _request(folder, name, "-x509", "-days", "2", *san, "-out", certificate)
    )


class Certificates:
    """What a server may show, right and wrong, and what a client may have."""

    def __init__(self, folder: Path) -> None:
        self._authority = Authority(folder / "ours")
        self.authority = self._authority.certificate
        self.stranger = Authority(folder / "stranger").certificate
        """Of an authority that has signed none of them."""
        self.client = self._authority.sign("client", usage="clientAuth")
        self.shown = {
            "good": self._authority.sign("good"),
            "expired": self._authority.sign("expired", days=-1),
            "elsewhere": self._authority.sign("elsewhere", host=ELSEWHERE),
            "alone": self_signed(folder, "alone"),
        }


def openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)


def _request(folder: Path, name: str, *more: str) -> str:
    key = str(folder / f"{name}.key")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", key, *more)
    return key
