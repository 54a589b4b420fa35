"""Reads a password from a file at each new connection, so that it is replaced without a restart.

An URL whose query names a `password_file` has its password there: a line, or two while it is replaced, of which the
server takes one. Knows no server.
"""

from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

PARAMETER = "password_file"


def take(url: str) -> tuple[str, Path | None]:
    """Returns the URL without the parameter, and the file that it named, if it did."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    file = query.pop(PARAMETER, None)
    if file is None:
        return url, None
    return parts._replace(query=urlencode(query)).geturl(), Path(file)


def read(file: Path) -> list[str]:
    """Returns the passwords, the newest first. Raises OSError when there is none."""
    passwords = file.read_text().split()
    if not passwords:
        raise OSError(f"{file} holds no password")
    return passwords
