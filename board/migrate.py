"""Brings a database to the newest schema: the numbered files of migrations/, run by yoyo.

Holds always: safe to repeat and to run twice at once, since one advisory lock of Postgres lets one at a time in. It
goes with its connection, so a killed migration leaves nothing locked; yoyo's own lock is a row, which would stay.
"""

import logging
import warnings
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

FOLDER = Path(__file__).resolve().parent.parent / "migrations"
_LOCK = 0x5C02EB0A2D  # any number, as long as nothing else in the database takes it

log = logging.getLogger(__name__)


def migrate(owner_url: str) -> None:
    """Applies what is missing. owner_url: `postgresql://…` of the owner, who may make roles.

    Raises psycopg.Error when the database refuses; each file is applied wholly or not at all.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # yoyo's import warns of folders that it does not use here
        from yoyo import get_backend, read_migrations

    with psycopg.connect(owner_url, autocommit=True) as guard:
        guard.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        backend = get_backend(urlsplit(owner_url)._replace(scheme="postgresql+psycopg").geturl())
        try:
            missing = backend.to_apply(read_migrations(str(FOLDER)))
            backend.apply_migrations(missing)
        finally:
            backend.connection.close()
        if missing:
            log.info("Migrations applied", extra={"event": "migrated", "count": len(missing)})
