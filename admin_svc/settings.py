"""What admin_svc is told by its environment."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from mesh.settings import PostgresSettings, RabbitSettings, RedisSettings, ServiceSettings, VerifierSettings
from mesh.tls import TlsFiles


class AdminSettings(ServiceSettings, PostgresSettings, RedisSettings, RabbitSettings, VerifierSettings):
    """Settings of admin_svc."""

    admin_port: int = Field(ge=1, le=65535, description="gRPC port, which no public gateway may reach")
    admin_health_port: int | None = Field(None, ge=1, le=65535, description="plain port of health alone, for probes")
    admin_tls_cert_file: Path | None = Field(None, description="PEM file of the listener's certificate and its chain")
    admin_tls_key_file: Path | None = Field(None, description="PEM file of the certificate's key")
    admin_tls_client_ca_file: Path | None = Field(None, description="PEM file of the authorities of clients")

    @property
    def tls(self) -> TlsFiles | None:
        """The files of mutual TLS; None: the port is plain."""
        certificate, key, client_ca = self.admin_tls_cert_file, self.admin_tls_key_file, self.admin_tls_client_ca_file
        return TlsFiles(certificate, key, client_ca) if certificate and key and client_ca else None

    @model_validator(mode="after")
    def _has_all_files_or_none(self) -> Self:
        files = (self.admin_tls_cert_file, self.admin_tls_key_file, self.admin_tls_client_ca_file)
        if any(files) and not all(files):
            raise ValueError("certificate, key and client CA come together")
        return self
