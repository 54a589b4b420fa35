"""Writes docs/rbac.md: every RPC of `proto/` and who may call it, as the services' own rules decide.

Pure. Holds always: a cell is what `mesh.rpc.Access.check` answers to a token of that kind; an RPC without a rule is an
error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet, MethodDescriptorProto, ServiceDescriptorProto

from auth_svc.access_token import PLAYER_SCOPE, client_scope
from mesh.identity import ROLES, Identity
from mesh.refusal import Refused
from mesh.rpc import Access

PACKAGE = "scoreboard.v1"
NOBODY, YES, NO_TOKEN = "nobody", "yes", "TOKEN_MISSING"

Rules = Mapping[str, Mapping[str, Access]]  # by service, then by RPC


def _session(role: str) -> Identity:
    return Identity("u", "sid", 1, frozenset(PLAYER_SCOPE.split()), role, 0)


def _client(role: str) -> Identity:
    return Identity("c", "", 0, frozenset(client_scope(ROLES.index(role)).split()), role, 0)


#: The table's columns: who calls, and what the token says.
CALLERS: Mapping[str, Identity | None] = MappingProxyType(
    {
        NOBODY: None,
        "player": _session("player"),
        "game_server": _client("game_server"),
        "moderator": _session("moderator"),
        "operator": _session("operator"),
        "admin": _session("admin"),
        "scoreboard-cli": _client("admin"),
    }
)
HEAD = f"""# Who may call what

Made from `proto/` and the services' rules by `make proto`, and gone through cell by cell at real services by
`tests/e2e/test_rbac.py`. **yes**: the call is taken, and what it does may be bound to one's own account or need a
signature besides; a reason: so it is refused.

| who | what that is |
| --- | --- |
| `{NOBODY}` | a call without a token |
| `player` | a session, of a guest too |
| `game_server` | a trusted client: `scoreboard clients create` |
| `moderator`, `operator`, `admin` | a session of an account with that role: `scoreboard admin create`; it plays, too |
| `scoreboard-cli` | the client of role admin by which the command line operates a local mesh; it reports no scores |

A role is what the database has now where AdminService is called, and what the token says elsewhere (at most ten minutes
old). Nobody acts on a player of a higher role than his own. The gateway refuses what has no good token by itself, and
AdminService is on no route of it: it has a listener of its own, by mutual TLS where that is set
([operating.md](operating.md)). The gateway's other addresses (`/oauth2/token`, `/.well-known/…`, `/ws/leaderboard`,
the pages) are open to all; a WebSocket takes a token in a frame, for one's own rank.
"""


def rules() -> Rules:
    """Returns the rules of all services. Imports them."""
    from admin_svc import service as admin
    from auth_svc import service as auth
    from leaderboard_svc import service as leaderboard
    from score_svc import service as score
    from stream_svc import service as stream

    return {
        "AuthService": auth.ACCESS,
        "ScoreService": score.ACCESS,
        "LeaderboardService": leaderboard.ACCESS,
        "StreamService": stream.ACCESS,
        "AdminService": admin.ACCESS,
    }


def cell(access: Access, caller: Identity | None) -> str:
    """Returns YES, or the reason of the refusal."""
    if caller is None:
        return NO_TOKEN if access.token else YES
    try:
        if access.token:
            access.check(caller)
    except Refused as refused:
        return refused.reason.value
    return YES


def page(files: FileDescriptorSet, by_service: Rules) -> str:
    """Returns the page. Raises ValueError for a service or an RPC that has no rule, and for a rule without an RPC."""
    services = [service for file in files.file if file.package == PACKAGE for service in file.service]
    if unknown := {service.name for service in services} ^ by_service.keys():
        raise ValueError(f"scripts/rbac.py and proto/ do not both have {', '.join(sorted(unknown))}")
    named = {service.name: service for service in services}
    return "\n".join([HEAD, *(_part(named[name], access) for name, access in by_service.items())])


def _part(service: ServiceDescriptorProto, access: Mapping[str, Access]) -> str:
    if unknown := {method.name for method in service.method} ^ access.keys():
        raise ValueError(f"{service.name}: ACCESS and proto/ do not both have {', '.join(sorted(unknown))}")
    rows = [("RPC", "HTTP", *CALLERS), ("---",) * (len(CALLERS) + 2)]
    for method in service.method:
        cells = (cell(access[method.name], caller) for caller in CALLERS.values())
        rows.append((f"`{method.name}`", _route(method), *cells))
    return f"## {service.name}\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _route(method: MethodDescriptorProto) -> str:
    rule = method.options.Extensions[annotations_pb2.http]
    verb = rule.WhichOneof("pattern")
    return f"`{verb.upper()} {getattr(rule, verb)}`" if verb else "–"


def read(text: str) -> dict[str, dict[str, dict[str, str]]]:
    """Returns the cells of a page: by service, RPC and caller."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for part in text.split("\n## ")[1:]:
        name, *lines = part.splitlines()
        table = [_cells(line) for line in lines if line.startswith("|")]
        callers = table[0][2:]
        found[name] = {row[0].strip("`"): dict(zip(callers, row[2:], strict=True)) for row in table[2:]}
    return found


def _cells(line: str) -> Sequence[str]:
    return [one.strip() for one in line.strip("|\n ").split(" | ")]
