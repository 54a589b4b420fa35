"""Settings of leaderboard_svc."""

from pydantic import Field

from mesh.settings import GatewayPort, PostgresSettings, RedisSettings, ServiceSettings


class LeaderboardSettings(ServiceSettings, PostgresSettings, RedisSettings):
    """From the environment; docs/wiring.md lists the shared ones."""

    leaderboard_port: int = Field(ge=1, le=65535, description="gRPC port")
    leaderboard_gateway_port: GatewayPort = None
