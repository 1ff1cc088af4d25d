"""Certificates for tests: an authority and the certificates that it signs, made with openssl."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Signed:
    """PEM files of a certificate and its key."""

    certificate: Path
    key: Path


class Authority:
    """A certificate authority in a directory."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        self._directory = directory
        self.certificate = directory / f"{name}.pem"
        self._key = directory / f"{name}.key"
        _openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", self._key, "-out", self.certificate, "-days", 2, "-subj", f"/CN={name}"),
        )

    def sign(self, name: str, names: str = "DNS:localhost,IP:127.0.0.1", days: int = 1) -> Signed:
        """A new certificate, under the same file names each time.

        Args:
            name: of the files and of the subject.
            names: that it is for.
            days: how long it is valid; negative for one that has expired.
        """
        key, request = self._directory / f"{name}.key", self._directory / f"{name}.csr"
        certificate = self._directory / f"{name}.pem"
        extensions = self._directory / "extensions"
        extensions.write_text(f"subjectAltName={names}\n")
        _openssl(
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", key, "-out", request, "-subj", f"/CN={name}"),
        )
        _openssl(
            *("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._key),
            *("-CAcreateserial", "-days", days, "-extfile", extensions, "-out", certificate),
        )
        return Signed(certificate, key)


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
