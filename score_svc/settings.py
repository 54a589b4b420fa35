"""What score_svc is told by its environment."""

from pydantic import Field

from mesh.settings import (
    GatewayPort,
    MasterKeySettings,
    PostgresSettings,
    RabbitSettings,
    RedisSettings,
    ServiceSettings,
    VerifierSettings,
)


class ScoreSettings(
    ServiceSettings, PostgresSettings, RedisSettings, RabbitSettings, VerifierSettings, MasterKeySettings
):
    """Settings of score_svc."""

    score_port: int = Field(ge=0, le=65535, description="port of gRPC; 0 takes a free one")
    score_gateway_port: GatewayPort = None
    updates_per_minute: int = Field(10, ge=0, le=1_000_000, description="updates a user in any 60 s; 0: no limit")
    score_answer_budget_s: float = Field(
        2.0, gt=0, le=10, description="seconds for confirm and result; later an update is PENDING"
    )
    score_client_nonces: bool = Field(True, description="whether players may make nonces (`c.`) of their own")
