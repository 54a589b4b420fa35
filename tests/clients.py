"""Carries the client's plans out without a network: time, chance, order and answers are the test's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import Message

from scoreboard.client.errors import ScoreboardError, by_reason
from scoreboard.client.plans import Plans
from scoreboard.client.steps import Alone, Answer, Call, Keep, Plan, Session, Sleep, World
from scoreboard.v1 import error_reason_pb2

REASONS = tuple(
    value.name.removeprefix("ERROR_REASON_") for value in error_reason_pb2.ErrorReason.DESCRIPTOR.values if value.number
)
#: What comes without a reason, since the way broke.
BROKEN = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "UNKNOWN", "CANCELLED", "UNIMPLEMENTED", "RESOURCE_EXHAUSTED")
#: Every error that a call can meet, by a name: a reason, or a code with a dash before it.
ERRORS = (*REASONS, *(f"-{code}" for code in BROKEN))


def an_error(name: str) -> ScoreboardError:
    """Return the error of that name."""
    if name.startswith("-"):
        return ScoreboardError("", "the way broke", grpc.StatusCode[name[1:]])
    return by_reason(name)


def a_session(number: int = 0, *, unix_s: float = 1_800_000_000.0) -> Session:
    """Return a session after so many refreshes; the server's clock is 5 s ahead of `unix_s`."""
    return Session(
        access_token=f"access-{number}",
        token_type="Bearer",
        expires_in=600,
        refresh_token=f"refresh-{number}",
        signing_key="AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
        server_time=(unix_s + 5) * 1000,
        user_id="u_ada",
    )


@dataclass
class Sent:
    """A call that was made: when (monotonic seconds), and how it was answered."""

    call: Call
    at_s: float
    answer: Answer = None


@dataclass
class _Task:
    plans: list[Plan[Any]]
    answer: Answer = None
    sending: Sent | None = None
    waits_for: Alone | None = None
    outcome: Any = None

    @property
    def is_over(self) -> bool:
        return not self.plans


@dataclass
class Stage:
    """Plays the world to a client's plans. `answer` says what a call meets, `pick` which task goes on."""

    answer: Callable[[Call], Answer]
    pick: Callable[[int], int] = lambda count: 0
    call_takes_s: Callable[[], float] = lambda: 0.01
    chance: Callable[[], float] = lambda: 0.5
    now_s: float = 0.0
    unix_at_0: float = 1_800_000_000.0
    sent: list[Sent] = field(default_factory=list)
    kept: list[Session | None] = field(default_factory=list)
    at_once: list[list[Message]] = field(default_factory=list)  # in flight together, at each call
    _alone: _Task | None = None

    def plans(self, deadline_s: float = 15.0, *, session: Session | None = None) -> Plans:
        """Return a client's plans on this stage, signed in by `session`."""
        world = World(lambda: self.unix_at_0 + self.now_s, lambda: self.now_s, self.chance, bytes)
        plans = Plans(deadline_s, world)
        if session is not None:
            self.run(plans.caller.begin(session))
        return plans

    def run(self, *plans: Plan[Any]) -> Any:
        """Carry plans out side by side; return the results, or the one: values, or errors as values."""
        tasks = [_Task([plan]) for plan in plans]
        while ready := [task for task in tasks if self._can_go_on(task)]:
            self._go_on(ready[self.pick(len(ready)) % len(ready)], tasks)
        assert all(task.is_over for task in tasks), "a plan waits for ever"
        return tasks[0].outcome if len(tasks) == 1 else [task.outcome for task in tasks]

    def requests(self, kind: type[Message]) -> list[Any]:
        """Return the requests of this kind that were sent."""
        return [one.call.request for one in self.sent if isinstance(one.call.request, kind)]

    def _can_go_on(self, task: _Task) -> bool:
        return not task.is_over and (task.waits_for is None or self._alone is None)

    def _go_on(self, task: _Task, tasks: Sequence[_Task]) -> None:
        if task.sending is not None:
            takes_s = min(self.call_takes_s(), task.sending.call.timeout_s)
            self.now_s += takes_s
            task.answer = task.sending.answer = self.answer(task.sending.call)
            task.sending = None
        elif task.waits_for is not None:
            self._alone, alone = task, task.waits_for
            task.plans.append(alone.plan)
            task.waits_for, task.answer = None, None
        self._step(task)
        self.at_once.append([one.sending.call.request for one in tasks if one.sending is not None])

    def _step(self, task: _Task) -> None:
        answer, task.answer = task.answer, None
        try:
            step = task.plans[-1].send(answer)
        except StopIteration as end:
            self._end(task, end.value)
        except ScoreboardError as error:
            self._end(task, error)
        else:
            match step:
                case Call():
                    task.sending = Sent(step, self.now_s)
                    self.sent.append(task.sending)
                case Sleep():
                    self.now_s += step.seconds
                case Keep():
                    self.kept.append(step.session)
                case Alone():
                    task.waits_for = step

    def _end(self, task: _Task, outcome: Any) -> None:
        task.plans.pop()
        if task.is_over:
            task.outcome = outcome
        else:
            self._alone = None
            task.answer = outcome if isinstance(outcome, ScoreboardError) else None
