"""Makes the roles, the database and the operator's client of a mesh; safe to repeat.

What else stands inside the database (tables, rights) comes from migrations/, run by board.migrate as the owner.
"""

from __future__ import annotations

from collections.abc import Mapping

import psycopg
from psycopg import sql

from scoreboard.local.accounts import ACCOUNTS, EXPORTER, LOCAL_ACCOUNTS, OPERATOR, OWNER

ADMIN = 3  # clients.role


def make_roles(superuser_url: str, passwords: Mapping[str, str]) -> None:
    """Make the role of each of these accounts, or give it its password again.

    None of them comes into the server's own databases.
    """
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        for account in (account for account in LOCAL_ACCOUNTS if account in passwords):
            known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [account]).fetchone()
            verb = sql.SQL("ALTER" if known else "CREATE")
            statement = sql.SQL("{} ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD {}")
            name, password = sql.Identifier(account), sql.Literal(passwords[account])
            connection.execute(statement.format(verb, name, password))
        # By default anyone may connect to these, and make temporary tables there.
        connection.execute("REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC")


def make_database(superuser_url: str, name: str, template: str = "template0") -> None:
    """Make a database of the owner unless it is there; only the accounts may connect."""
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is None:
            statement = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}")
            names = [sql.Identifier(part) for part in (name, OWNER, template)]
            connection.execute(statement.format(*names))
        revoke = sql.SQL("REVOKE CONNECT, TEMPORARY ON DATABASE {} FROM PUBLIC")
        connection.execute(revoke.format(sql.Identifier(name)))
        for account in ACCOUNTS:
            grant = sql.SQL("GRANT CONNECT ON DATABASE {} TO {}")
            connection.execute(grant.format(sql.Identifier(name), sql.Identifier(account)))


def let_exporter_read(superuser_url: str) -> None:
    """Let EXPORTER see what sessions do, and count the dead letters. superuser_url: of the mesh's database."""
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        names = {"database": sql.Identifier(connection.info.dbname), "exporter": sql.Identifier(EXPORTER)}
        for statement in (
            "GRANT pg_read_all_stats TO {exporter}",
            "GRANT CONNECT ON DATABASE {database} TO {exporter}",
            "GRANT USAGE ON SCHEMA public TO {exporter}",
            "GRANT SELECT (update_id) ON dead_letters TO {exporter}",
        ):
            connection.execute(sql.SQL(statement).format(**names))


def make_operator(owner_url: str, stored_secret: str) -> None:
    """Make the client by which the command line operates the mesh, or give it its secret and role again."""
    with psycopg.connect(owner_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO clients (client_id, secret_hash, role, actions) VALUES (%s, %s, %s, '{}')"
            " ON CONFLICT (client_id) DO UPDATE SET secret_hash = EXCLUDED.secret_hash, role = EXCLUDED.role",
            [OPERATOR, stored_secret, ADMIN],
        )


def drop_database(superuser_url: str, name: str) -> None:
    """Drop a database, with whoever is still connected."""
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
