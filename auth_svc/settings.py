"""Settings of auth_svc."""

from pydantic import Field

from mesh.settings import MasterKeySettings, PostgresSettings, RedisSettings, ServiceSettings, TokenSettings

DAY_S = 86_400


class AuthSettings(ServiceSettings, PostgresSettings, RedisSettings, TokenSettings, MasterKeySettings):
    """From the environment; docs/wiring.md lists the shared ones."""

    auth_port: int = Field(ge=1, le=65535, description="gRPC port")
    auth_http_port: int = Field(ge=1, le=65535, description="port of JWKS, metadata and /oauth2/token")
    logins_per_minute: int = Field(20, ge=1, le=1_000_000, description="attempts an address a minute, in the long run")
    auth_trusted_hops: int = Field(0, ge=0, le=10, description="proxies of ours in front of the gateway")
    auth_access_token_life_s: int = Field(600, ge=300, le=900, description="life of an access token, seconds")
    auth_session_life_s: int = Field(30 * DAY_S, ge=900, le=365 * DAY_S, description="life of a session, seconds")
    auth_key_life_s: int = Field(30 * DAY_S, ge=1800, le=365 * DAY_S, description="how long a key signs, seconds")
    # OWASP's least for argon2id: 19 MiB and 2 passes, about 20 ms of one core.
    auth_hash_memory_kib: int = Field(19_456, ge=7_168, le=1_048_576, description="memory of one password hash, KiB")
    auth_hash_passes: int = Field(2, ge=1, le=100, description="passes of one password hash")
    auth_hash_waiting_max: int = Field(128, ge=1, le=10_000, description="hashes in hand and waiting; more are refused")
