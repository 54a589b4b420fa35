"""Settings of auth_svc."""

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from mesh.settings import (
    AddressSettings,
    GatewayPort,
    MasterKeySettings,
    PostgresSettings,
    RabbitSettings,
    RedisSettings,
    RegionSettings,
    ServiceSettings,
    TokenSettings,
)

DAY_S = 86_400


class ExchangeIssuer(BaseModel):
    """An identity provider whose tokens are exchanged: its `iss`, where its keys are, and `aud` when we are meant."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str = Field(min_length=1)
    jwks_url: str = Field(pattern="^https?://")
    audience: str = Field(min_length=1)


class AuthSettings(
    ServiceSettings,
    PostgresSettings,
    RedisSettings,
    RabbitSettings,
    TokenSettings,
    MasterKeySettings,
    AddressSettings,
    RegionSettings,
):
    """From the environment; docs/wiring.md lists the shared ones."""

    auth_port: int = Field(ge=1, le=65535, description="gRPC port")
    auth_gateway_port: GatewayPort = None
    auth_http_port: int = Field(ge=1, le=65535, description="port of JWKS, metadata and /oauth2/token")
    logins_per_minute: int = Field(20, ge=1, le=1_000_000, description="attempts an address a minute, in the long run")
    auth_exchange_issuers: tuple[ExchangeIssuer, ...] = Field((), description="studios' identity providers")
    auth_access_token_life_s: int = Field(600, ge=300, le=900, description="life of an access token, seconds")
    auth_session_life_s: int = Field(30 * DAY_S, ge=900, le=365 * DAY_S, description="life of a session, seconds")
    auth_key_life_s: int = Field(30 * DAY_S, ge=1800, le=365 * DAY_S, description="how long a key signs, seconds")
    # OWASP's least for argon2id: 19 MiB and 2 passes, about 20 ms of one core.
    auth_hash_memory_kib: int = Field(19_456, ge=7_168, le=1_048_576, description="memory of one password hash, KiB")
    auth_hash_passes: int = Field(2, ge=1, le=100, description="passes of one password hash")
    auth_hash_waiting_max: int = Field(128, ge=1, le=10_000, description="hashes in hand and waiting; more are refused")

    @field_validator("auth_exchange_issuers")
    @classmethod
    def _are_others(cls, issuers: tuple[ExchangeIssuer, ...], known: ValidationInfo) -> tuple[ExchangeIssuer, ...]:
        names = [each.issuer for each in issuers]
        if len(set(names)) < len(names) or known.data.get("issuer") in names:
            raise ValueError("each issuer stands there once, and SCOREBOARD_ISSUER is not one of them")
        return issuers
