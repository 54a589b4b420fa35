"""Settings of leaderboard_svc."""

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from mesh.settings import REGION, Gateway, GatewayPort, PostgresSettings, RedisSettings, RegionSettings, ServiceSettings


class OtherRegion(BaseModel):
    """Another region, and the gateway that answers for it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=REGION)
    gateway: Gateway


class LeaderboardSettings(ServiceSettings, PostgresSettings, RedisSettings, RegionSettings):
    """From the environment; docs/wiring.md lists the shared ones."""

    leaderboard_port: int = Field(ge=1, le=65535, description="gRPC port")
    leaderboard_gateway_port: GatewayPort = None
    other_regions: tuple[OtherRegion, ...] = Field((), description="regions whose boards are merged into global ones")

    @field_validator("other_regions")
    @classmethod
    def _are_others(cls, regions: tuple[OtherRegion, ...], known: ValidationInfo) -> tuple[OtherRegion, ...]:
        names = [each.name for each in regions]
        if len(set(names)) < len(names) or known.data.get("region") in names:
            raise ValueError("each region stands there once, and SCOREBOARD_REGION is not one of them")
        return regions
