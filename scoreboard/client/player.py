"""What both clients have without asking anybody: the way to the gateway, the session that they keep, and nonces."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import update_wrapper
from typing import Any, TypeVar

from scoreboard.client.connection import GATEWAY, parse_gateway
from scoreboard.client.plans import DEADLINE_S, Plans
from scoreboard.client.steps import Keep, Plan, Session

OnSession = Callable[[Session | None], None]
F = TypeVar("F", bound=Callable[..., Any])


class Player(ABC):
    """The player whom a client acts for, once there is a session."""

    def __init__(
        self, gateway: str = GATEWAY, *, deadline_s: float = DEADLINE_S, on_session: OnSession | None = None
    ) -> None:
        """`gateway`: HOST:PORT, http://HOST:PORT or https://HOST[:PORT]; only this machine's is plain without http://.

        `deadline_s`: seconds within which a call, with all that it repeats, has its answer or fails. `on_session` is
        called with each new session, which is to be kept in place of the one before, and with None when it has ended.
        Raises ValueError for what is no address.
        """
        self._plans = Plans(deadline_s)
        self._on_session = on_session
        self._connect(*parse_gateway(gateway))

    @abstractmethod
    def _connect(self, target: str, is_encrypted: bool) -> None:
        """Prepares the connection to HOST:PORT; it is made when a call needs it."""

    @property
    def session(self) -> Session:
        """The session: a secret, which `resume` takes. Raises ScoreboardError(TOKEN_MISSING) before a login."""
        return self._plans.session

    @property
    def user_id(self) -> str:
        """The player's public id. Raises as `session` does."""
        return self._plans.session.user_id

    def resume(self, session: Session) -> None:
        """Takes a session that was kept; its access token is renewed when it is needed and over."""
        self._plans.caller.resume(session)

    def nonce(self) -> str:
        """Returns a fresh nonce; keep it with the action until its outcome is known, and score again with it."""
        return self._plans.nonce()

    def _keep(self, step: Keep) -> None:
        if self._on_session is not None:
            self._on_session(step.session)


def described(method: F, plan: Callable[..., Plan[Any]]) -> F:
    """Returns a client's method under the name, docstring and signature of the plan that it carries out."""
    signature = inspect.signature(plan)
    result = signature.return_annotation.removeprefix("Plan[").removesuffix("]")
    update_wrapper(method, plan)
    method.__dict__["__signature__"] = signature.replace(return_annotation=result)
    return method
