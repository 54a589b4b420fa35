"""What admin_svc is told by its environment."""

from pydantic import Field

from mesh.settings import PostgresSettings, RabbitSettings, RedisSettings, ServiceSettings, VerifierSettings


class AdminSettings(ServiceSettings, PostgresSettings, RedisSettings, RabbitSettings, VerifierSettings):
    """Settings of admin_svc."""

    admin_port: int = Field(ge=1, le=65535, description="gRPC port, which no public gateway may reach")
