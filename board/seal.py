"""Seals: what proves of the ledger and the admin log that no row was changed, removed or added since it was sealed.

Pure. A seal covers every row whose transaction number lies in its range: the ledger's by (txid, id), then the admin
log's. A row is one line of JSON; the lines are the leaves of a Merkle tree (RFC 6962, section 2.1: one more leaf or
another order is another root); the seal is the hash of its fields and the seal before it, and is signed (Ed25519).
Holds always: the lines' form never changes; a row that gains a column gets a line of another name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from board.instant import to_us

LEDGER, ADMIN = "ledger.1", "admin.1"  # the first word of a row's line
SEAL = "seal.1"
FIRST = bytes(32)  # what stands before the first seal
LEAF_BYTES = 49  # as `Leaf.packed` makes it
_END = b"-----END PUBLIC KEY-----"


@dataclass(frozen=True, slots=True)
class Leaf:
    """What is kept of a sealed row, to tell later which one was changed. key: 1 byte for the table, 16 for the id."""

    key: bytes
    hash: bytes

    @property
    def packed(self) -> bytes:
        """Returns it as the table `audit_leaves` has it."""
        return self.key + self.hash

    @property
    def row_id(self) -> UUID | None:
        """Returns the update's id; None for a line of the admin log."""
        return UUID(bytes=self.key[1:]) if self.key[:1] == b"L" else None

    def __str__(self) -> str:
        row_id = self.row_id
        return str(row_id) if row_id is not None else f"admin log {int.from_bytes(self.key[1:])}"


def unpack(packed: bytes) -> list[Leaf]:
    """Returns the leaves of a row of `audit_leaves`."""
    parts = (packed[i : i + LEAF_BYTES] for i in range(0, len(packed), LEAF_BYTES))
    return [Leaf(part[:17], part[17:]) for part in parts]


def ledger_line(row: Mapping[str, Any]) -> bytes:
    """Returns the line of a row of score_logs: all its columns. txid: as an integer."""
    return orjson.dumps(
        [
            LEDGER,
            row["txid"],
            str(row["id"]),
            row["user_ref"],
            row["action_id"],
            row["kind"],
            row["outcome"],
            row["reason"],
            row["score_change"],
            row["value"],
            row["score_after"],
            row["reporter"],
            None if row["reverses"] is None else str(row["reverses"]),
            row["revision"],
            _instant(row["accepted_at"]),
            _instant(row["applied_at"]),
        ]
    )


def admin_line(row: Mapping[str, Any]) -> bytes:
    """Returns the line of a row of admin_log: all its columns; before and after as Postgres spells jsonb."""
    columns = ("id", "actor", "action", "target", "reason", "before", "after")
    return orjson.dumps([ADMIN, row["txid"], *(row[column] for column in columns), _instant(row["at"])])


def leaf_of(line: bytes) -> Leaf:
    """Returns the leaf of a row's line. Raises ValueError for what is no such line."""
    what, _, row_id, *_ = orjson.loads(line)
    if what == LEDGER:
        key = b"L" + UUID(row_id).bytes
    elif what == ADMIN:
        key = b"A" + int(row_id).to_bytes(16)
    else:
        raise ValueError(f"{what} is no row")
    return Leaf(key, leaf_hash(line))


def leaf_hash(line: bytes) -> bytes:
    """Returns the hash of a row's line."""
    return hashlib.sha256(b"\0" + line).digest()


class Tree:
    """A Merkle tree that grows leaf by leaf, in the memory of its right edge."""

    def __init__(self, hashes: Iterable[bytes] = ()) -> None:
        self.count = 0
        self._peaks: list[bytes] = []
        for one in hashes:
            self.add(one)

    def add(self, leaf: bytes) -> None:
        """Adds the hash of the next row."""
        node, full = leaf, self.count
        while full & 1:  # a whole subtree of this size stands on the left
            node = _node(self._peaks.pop(), node)
            full >>= 1
        self._peaks.append(node)
        self.count += 1

    def root(self) -> bytes:
        """Returns the root over what was added so far."""
        if not self._peaks:
            return hashlib.sha256().digest()
        root = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            root = _node(peak, root)
        return root


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """What a seal says of its rows. to_txid: exclusive. cluster: the database's identifier."""

    seal_no: int
    cluster: int
    from_txid: int
    to_txid: int
    row_count: int
    root: bytes
    sealed_at: datetime

    def hash(self, before: bytes) -> bytes:
        """Returns the seal. before: the seal before it."""
        fields = [SEAL, self.seal_no, self.cluster, self.from_txid, self.to_txid, self.row_count]
        line = orjson.dumps([*fields, self.root.hex(), _instant(self.sealed_at), before.hex()])
        return hashlib.sha256(line).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal(Range):
    """A signed seal. kid: of the key that signed."""

    seal: bytes
    signature: bytes
    kid: str


def published(seal: Seal) -> dict[str, object]:
    """Returns what is published of a seal: JSON, with text where JavaScript's numbers end."""
    return {
        "seal_no": seal.seal_no,
        "seal": seal.seal.hex(),
        "signature": seal.signature.hex(),
        "kid": seal.kid,
        "root": seal.root.hex(),
        "row_count": seal.row_count,
        "from_txid": str(seal.from_txid),
        "to_txid": str(seal.to_txid),
        "cluster": str(seal.cluster),
        "sealed_at": seal.sealed_at.isoformat(timespec="microseconds"),
    }


def read_published(value: Mapping[str, Any]) -> Seal:
    """Returns the seal that was published so. Raises ValueError, KeyError and TypeError for what is none."""
    return Seal(
        seal_no=int(value["seal_no"]),
        seal=bytes.fromhex(value["seal"]),
        signature=bytes.fromhex(value["signature"]),
        kid=str(value["kid"]),
        root=bytes.fromhex(value["root"]),
        row_count=int(value["row_count"]),
        from_txid=int(value["from_txid"]),
        to_txid=int(value["to_txid"]),
        cluster=int(value["cluster"]),
        sealed_at=datetime.fromisoformat(value["sealed_at"]),
    )


class SealKey:
    """The key that signs: nobody who can only write to the database has it."""

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        self._private_key = private_key
        self.public = private_key.public_key()
        self.kid = kid_of(self.public)

    @classmethod
    def new(cls) -> SealKey:
        """Makes a key from chance."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path) -> SealKey:
        """Reads a PEM file (PKCS 8). Raises OSError, and ValueError for another kind of key."""
        key = load_pem_private_key(path.read_bytes(), password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError(f"{path} holds no Ed25519 key: make one with openssl genpkey -algorithm ed25519")
        return cls(key)

    @property
    def private_pem(self) -> str:
        """Returns what `load` reads."""
        return self._private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    @property
    def public_pem(self) -> str:
        """Returns the public part, for those who check."""
        return self.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def sign(self, covered: Range, before: bytes) -> Seal:
        """Returns the seal over a range. before: the seal before it."""
        seal = covered.hash(before)
        fields = {name: getattr(covered, name) for name in Range.__dataclass_fields__}
        return Seal(**fields, seal=seal, signature=self._private_key.sign(seal), kid=self.kid)


class TrustedKeys:
    """The public keys whose signatures count."""

    def __init__(self, keys: Sequence[Ed25519PublicKey]) -> None:
        self._by_kid = {kid_of(key): key for key in keys}

    @classmethod
    def load(cls, path: Path) -> TrustedKeys:
        """Reads a file of one or more public keys in PEM. Raises OSError, ValueError."""
        parts = path.read_bytes().split(_END)
        keys = [load_pem_public_key(part.strip() + b"\n" + _END) for part in parts[:-1]]
        if not keys or not all(isinstance(key, Ed25519PublicKey) for key in keys):
            raise ValueError(f"{path} holds no public Ed25519 keys in PEM")
        return cls([key for key in keys if isinstance(key, Ed25519PublicKey)])

    def has_signed(self, seal: Seal) -> bool:
        """Whether one of the keys signed the seal."""
        key = self._by_kid.get(seal.kid)
        if key is None:
            return False
        try:
            key.verify(seal.signature, seal.seal)
        except InvalidSignature:
            return False
        return True


def kid_of(key: Ed25519PublicKey) -> str:
    """Returns the name of a key: the beginning of its hash."""
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()[:16]


def _instant(instant: datetime) -> int | str:
    # asyncpg gives an infinity without a zone; no row of ours has one, and one that was put in is hashed all the same.
    return to_us(instant) if instant.tzinfo is not None else str(instant)
