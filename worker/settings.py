"""The worker's settings."""

from pathlib import Path

from pydantic import Field

from board import queues
from mesh.settings import PostgresSettings, RabbitSettings, RedisSettings, ServiceSettings


class WorkerSettings(ServiceSettings, PostgresSettings, RedisSettings, RabbitSettings):
    """What a worker needs; times that tests shorten are settings, rules are not."""

    worker_port: int = Field(ge=0, le=65535, description="port of health and reflection")
    worker_batch_jobs_max: int = Field(1_000, ge=1, le=5_000, description="jobs a transaction, about")
    # Messages of up to 500 jobs of about 100 bytes: 13 MB at most, and room for two batches and the next one.
    worker_prefetch: int = Field(256, ge=1, le=10_000, description="messages in hand")
    worker_deliveries_max: int = Field(5, ge=1, le=50, description="deliveries of a suspect before it is given up")
    worker_delays_s: tuple[float, ...] = Field(
        queues.DELAYS_S, min_length=1, description="seconds before each further try of a failed job, as a JSON list"
    )
    worker_reconcile_s: float = Field(600, gt=0, description="seconds between two comparisons of all boards with Redis")
    worker_seal_s: float = Field(10, gt=0, le=3_600, description="seconds between two seals of the audit chain")
    audit_key_file: Path | None = Field(None, description="PEM file of the Ed25519 key that signs seals")
    audit_seals_file: Path | None = Field(None, description="where seals are published, beside the log")
