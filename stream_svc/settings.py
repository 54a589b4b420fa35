"""Settings of stream_svc."""

from pydantic import Field

from mesh.settings import (
    AddressSettings,
    GatewayPort,
    PostgresSettings,
    RedisSettings,
    ServiceSettings,
    VerifierSettings,
)


class StreamSettings(ServiceSettings, PostgresSettings, RedisSettings, VerifierSettings, AddressSettings):
    """From the environment; docs/wiring.md lists the shared ones."""

    stream_port: int = Field(ge=1, le=65535, description="gRPC port")
    stream_gateway_port: GatewayPort = None
    stream_http_port: int = Field(ge=1, le=65535, description="port of the WebSocket /ws/leaderboard")
    stream_heartbeat_s: float = Field(10.0, gt=0, le=50, description="seconds without a frame before a heartbeat")
    stream_write_timeout_s: float = Field(10.0, gt=0, le=300, description="seconds that a client may leave frames")
    stream_watchers_max: int = Field(20_000, ge=1, description="boards watched at once, over all clients")
    stream_per_address_max: int = Field(2_000, ge=1, description="streams open at once, by one address")
    origins: tuple[str, ...] = Field((), description="whose pages may connect, beside the gateway's own")
