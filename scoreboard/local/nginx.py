"""Debian's nginx as the static server behind the gateway: the page, /openapi.json and /docs (web/nginx.conf.tmpl).

For root it runs as an account of its own; it reads the checkout and writes nothing but its pid. Its folder is that
account's, so we write nothing in it and follow no link there.
"""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from string import Template

from mesh.reasons import Reason
from mesh.refusal import Refused, to_json
from scoreboard.local import probe
from scoreboard.local.files import write_private
from scoreboard.local.installed import SETUP_CURE, debian_program
from scoreboard.local.local_replies import SENTENCES
from scoreboard.local.program import Account, Program
from scoreboard.local.services import TREE
from scoreboard.local.trouble import Trouble
from scoreboard.local.unprivileged import able, account_of

WEB = TREE / "web"
PAGE, REFERENCE = WEB / "dist", WEB / "reference"
ALIVE = "/openapi.json"  # a file that is always there, for health checks
ONE_PROCESS = "master_process off;"  # its end is the server's end: its keeper starts it again
_FOR_PATHS = str.maketrans({"\\": "\\\\", '"': '\\"'})


def nginx(folder: Path, port: int, page: Path = PAGE) -> Program:
    """The static server. page: the folder of what stands at /.

    Raises Trouble when nginx or the files are missing, or when no account can read them.
    """
    if not (page / "index.html").exists():
        raise Trouble(f"{page}/index.html is missing.", "Get it back with git checkout web/dist, or build it (web/).")
    binary = debian_program("nginx", "nginx")
    home = folder / "nginx"
    home.mkdir(mode=0o700, exist_ok=True)
    path = folder / "nginx.conf"
    write_private(path, configuration(home, f"127.0.0.1:{port}", page))
    account = _account(home, path, page / "index.html", REFERENCE / "openapi.json")
    return Program(
        name="nginx",
        argv=(binary, "-e", "stderr", "-c", str(path)),
        port=port,
        is_ready=partial(probe.http, f"http://127.0.0.1:{port}{ALIVE}"),
        account=account,
        folder=Path("/"),
    )


def configuration(
    home: Path, listen: str, page: Path = PAGE, reference: Path = REFERENCE, processes: str = ONE_PROCESS
) -> str:
    """Return nginx's configuration. home: its own folder; listen: ADDRESS:PORT. nginx's own $names stay.

    page, reference: the folders of what stands at / and at /docs. processes: what nginx is told about them.
    """
    values = {name: _quoted(path) for name, path in (("PAGE", page), ("REFERENCE", reference))}
    values["PROCESSES"] = processes
    values |= {"HOME": str(home).translate(_FOR_PATHS), "LISTEN": listen}
    values |= {"NOTHING": _body(Reason.NOT_FOUND), "INVALID": _body(Reason.INVALID_ARGUMENT)}
    return Template((WEB / "nginx.conf.tmpl").read_text()).safe_substitute(values)


def _quoted(path: Path) -> str:
    return '"' + str(path).translate(_FOR_PATHS) + '"'


def _body(reason: Reason) -> str:
    _, _, body = to_json(Refused(reason, SENTENCES[reason]))
    return json.dumps(body)


def _account(home: Path, own: Path, *readable: Path) -> Account | None:
    """Return whom nginx runs as: None (ourselves) unless we are root. home and its own file become the account's."""
    if os.geteuid() != 0:
        return None
    account = account_of("www-data", "nobody")
    if account is None:
        raise Trouble("There is no account www-data or nobody to run nginx as.", SETUP_CURE)
    for path in (home, *home.iterdir(), own):
        os.chown(path, account.uid, account.gid, follow_symlinks=False)
    found = able(account, *(("head", "-c1", str(path)) for path in (own, *readable)))
    if found is None:
        raise Trouble(
            f"uid {account.uid} cannot read {WEB} or {home}.", "Let others pass the folders above (chmod o+x)."
        )
    return found
