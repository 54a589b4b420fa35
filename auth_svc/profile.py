"""Changes what a player is called and logs in with, and erases players, each at the player's own wish.

A name changes and a player goes by a job, since boards show them; passwords are ours alone. Holds always: whoever has a
password must give it; a guest's name is claimed before the password is set, so that a try that broke off in between is
just repeated; a new password ends every other session, and an erasure all of them, with their access tokens.
"""

import time
from dataclasses import dataclass
from uuid import UUID, uuid4

from auth_svc.deny import DenyList
from auth_svc.guessing import Guessing
from auth_svc.hashing import Hasher
from auth_svc.password import check_new_password, check_password
from auth_svc.refresh import BANNED, DELETED, banned, session_revoked
from auth_svc.store import Player, Store, username_taken
from board.job_pb2 import Job
from board.ledger import Kind, Outcome
from board.submit import Submitter
from board.update_id import derive_update_id
from board.username import Username, check_username
from mesh import points
from mesh.identity import Identity
from mesh.reasons import Reason
from mesh.refusal import Refused, invalid

WHY = "the player's own wish"


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks, from which address, and the seconds that the answer may take."""

    identity: Identity
    address: str
    within_s: float

    @property
    def sid(self) -> UUID:
        """The session that asks."""
        return UUID(self.identity.session_id)


class Profiles:
    """The changes that players make of themselves."""

    def __init__(
        self, store: Store, deny_list: DenyList, hasher: Hasher, guessing: Guessing, submitter: Submitter
    ) -> None:
        self._store = store
        self._deny_list = deny_list
        self._hasher = hasher
        self._guessing = guessing
        self._submitter = submitter

    async def update(self, asking: Asking, username: str, password: str, new_password: str) -> tuple[str, str]:
        """Changes the name, the password or both; empty: as it is. Returns user id and name.

        Raises Refused: INVALID_ARGUMENT, SESSION_REVOKED, BANNED, BAD_CREDENTIALS, RATE_LIMITED, USERNAME_TAKEN,
        SERVICE_AWAY, and what Submitter.submit raises.
        """
        name = check_username(username) if username else None
        new = check_new_password(new_password, username, "new_password") if new_password else None
        if name is None and new is None:
            raise invalid("username", "or new_password must be given")
        player = await self._player(asking)
        if player.password_hash is not None:
            await self._prove(player, asking, password, new)
        elif player.is_vouched and new is not None:
            raise invalid("new_password", "cannot be set: this player signs in by the studio's identity provider")
        elif name is None:
            raise invalid("username", "must be given too: it is what a guest will log in with")
        if name is not None:
            is_account = player.password_hash is not None or new is not None
            await self._rename(player, name, name.key if is_account else None, asking.within_s)
        points.reached("auth_svc.after_rename")
        if new is not None:
            await self._set_password(player, new, asking)
        return player.user_id, player.username if name is None else name.shown

    async def erase(self, asking: Asking, password: str) -> None:
        """Erases the player who asks; says so again to whoever repeats it.

        Raises Refused: INVALID_ARGUMENT, SESSION_REVOKED, BANNED, BAD_CREDENTIALS, RATE_LIMITED, SERVICE_AWAY, and what
        Submitter.submit raises.
        """
        if await self._is_erased(asking):
            await self._deny_list.add_erased(asking.sid)  # whoever erased him may have died before this
            return
        player = await self._player(asking)
        if player.password_hash is not None:
            await self._prove(player, asking, password, None)
        await self._erase(player, asking.within_s)

    async def _player(self, asking: Asking) -> Player:
        player = await self._store.find_by_session(asking.sid)
        # The row, not the deny-list: that one is a copy.
        if player is None or player.is_ended or player.state == DELETED:
            raise session_revoked()
        if player.state == BANNED:
            raise banned()
        return player

    async def _is_erased(self, asking: Asking) -> bool:
        # Both: a session is lost by a restored backup too, and a studio's id may be another player's by now.
        gone = await self._store.find_by_session(asking.sid) is None
        return gone and await self._store.is_erased(asking.identity.subject)

    async def _prove(self, player: Player, asking: Asking, password: str, new: bytes | None) -> None:
        """Checks the present password; the new one in its place is a repeat of a change whose answer was lost."""
        offered = [check_password(password)] if password else []
        if new is not None:
            offered.append(new)
        if not offered:
            raise invalid("password", "must be given")
        async with self._guessing.attempt(asking.address, player.username_key or player.user_id):
            for secret in offered:
                if await self._hasher.verify(player.password_hash, secret):
                    return
            raise Refused(Reason.BAD_CREDENTIALS, "The password is wrong.")

    async def _rename(self, player: Player, name: Username, key: str | None, within_s: float) -> None:
        if (player.username, player.username_key) == (name.shown, key):
            return
        job = _job(Kind.RENAME, player.user_id)
        job.name, job.name_key = name.shown, key or ""
        await self._submit(job, within_s)

    async def _set_password(self, player: Player, new: bytes, asking: Asking) -> None:
        new_hash = await self._hasher.hash(new)
        if player.password_hash is None:
            is_set = await self._store.add_password(player.ref, new_hash)
        else:
            is_set = await self._change_password(player.ref, new_hash, player.password_hash, asking.sid)
        if not is_set:  # another call was faster: with the same password, when it was a copy of this one
            await self._prove(await self._player(asking), asking, "", new)

    async def _change_password(self, ref: int, new_hash: str, old_hash: str, keep: UUID) -> bool:
        try:
            ended = await self._store.change_password(ref, new_hash, old_hash, keep)
            await self._deny_list.add(*(ended or ()))
        except BaseException:  # also when the caller hangs up at the commit: asking again would find nothing to end
            self._deny_list.miss()
            raise
        return ended is not None

    async def _erase(self, player: Player, within_s: float) -> None:
        sids = await self._store.sessions_of(player.ref)
        is_taken = True  # as far as is known, also when the caller hangs up
        try:
            await self._submit(_job(Kind.DELETE, player.user_id), within_s)
        except Refused as refused:
            # The first: another call was faster. The second: it is queued and will be done.
            is_taken = refused.reason in (Reason.SESSION_REVOKED, Reason.DEADLINE_EXCEEDED)
            if refused.reason is not Reason.SESSION_REVOKED:
                raise
        finally:
            if is_taken:
                await self._deny_list.add_erased(*sids)

    async def _submit(self, job: Job, within_s: float) -> None:
        result = await self._submitter.submit(job, within_s=within_s)
        if result.outcome == Outcome.APPLIED:
            return
        if result.reason == Reason.USERNAME_TAKEN:
            raise username_taken()
        if result.reason == Reason.UNKNOWN_USER:
            raise session_revoked()  # erased by another call
        raise Refused(Reason(result.reason), "This change is not possible.")


def _job(kind: Kind, user_id: str) -> Job:
    at_us = time.time_ns() // 1000
    # No nonce of an update begins so: an act can never meet one.
    update_id = derive_update_id(at_us // 1000, reporter="", user_id=user_id, nonce=f"@{kind.word} {uuid4().hex}")
    return Job(update_id=update_id.bytes, kind=kind.word, user_id=user_id, accepted_at_us=at_us, text=WHY)
