"""Mutual TLS of a listener: which files, and credentials that follow them when they are renewed.

Holds always: whoever has no certificate of the clients' authority gets no further than the handshake; files that are
half renewed change nothing.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: the listener's certificate with its chain, its key, and the authorities of its clients."""

    certificate: Path
    key: Path
    client_ca: Path

    def credentials(self) -> grpc.ServerCredentials:
        """Returns what a port is opened with. Raises OSError, and ValueError for files that do not fit together."""
        return _Renewing(self).credentials()


class _Renewing:
    """Looks at the files at each handshake, which is some hundred times slower."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._stamp = self._stamp_now()

    def credentials(self) -> grpc.ServerCredentials:
        renewed: Any = self._renewed  # the types do not say that None keeps what there is
        return grpc.dynamic_ssl_server_credentials(self._read(), renewed, require_client_authentication=True)

    def _renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """Returns the files' configuration when they have changed since the last look; None: they have not."""
        try:
            if (stamp := self._stamp_now()) == self._stamp:
                return None
            read = self._read()
        except (OSError, ValueError) as e:
            log.warning("Certificates cannot be read", extra={"event": "certificates_unread", "error": str(e)})
            return None
        self._stamp = stamp
        log.info("Certificates renewed", extra={"event": "certificates_renewed"})
        return read

    def _stamp_now(self) -> tuple[tuple[int, int], ...]:
        files = (self._files.certificate, self._files.key, self._files.client_ca)
        return tuple((found.st_mtime_ns, found.st_ino) for found in (file.stat() for file in files))

    def _read(self) -> grpc.ServerCertificateConfiguration:
        certificate, key = self._files.certificate.read_bytes(), self._files.key.read_bytes()
        client_ca = self._files.client_ca.read_bytes()
        public = load_pem_x509_certificates(certificate)[0].public_key()
        if load_pem_private_key(key, password=None).public_key() != public:
            raise ValueError(f"{self._files.key} is not the key of {self._files.certificate}")
        load_pem_x509_certificates(client_ca)
        return grpc.ssl_server_certificate_configuration([(key, certificate)], client_ca)
