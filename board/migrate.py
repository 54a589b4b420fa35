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
ATTEMPTS = 10
_LOCK = 0x5C02EB0A2D  # any number, as long as nothing else in the database takes it

log = logging.getLogger(__name__)


def migrate(owner_url: str, until: str = "") -> None:
    """Applies what is missing. owner_url: `postgresql://…` of the owner, who may make roles.

    until: the last file that is applied, without its ending; empty: all are. Raises psycopg.Error when the database
    refuses; each file is applied wholly or not at all.
    """
    with psycopg.connect(owner_url, autocommit=True) as guard:
        guard.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        for attempt in range(1, ATTEMPTS + 1):
            try:
                count = _apply(owner_url, until)
                break
            except psycopg.errors.DeadlockDetected:
                # Workers go on meanwhile, and may hold what a file wants while they want what it holds.
                if attempt == ATTEMPTS:
                    raise
        if count:
            log.info("Migrations applied", extra={"event": "migrated", "count": count})


def _apply(owner_url: str, until: str) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # yoyo's import warns of folders that it does not use here
        from yoyo import get_backend, read_migrations

    backend = get_backend(urlsplit(owner_url)._replace(scheme="postgresql+psycopg").geturl())
    try:
        known = read_migrations(str(FOLDER)).filter(lambda file: not until or file.id <= until)
        missing = backend.to_apply(known)
        backend.apply_migrations(missing)
        return len(missing)
    finally:
        backend.connection.close()
