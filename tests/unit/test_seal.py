"""board/seal.py: the tree, the lines, the chain and its signatures; worker/seals_file.py: how seals are published."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from board.audit import Audit, Chain, compare_published
from board.audit_file import read_seals
from board.seal import (
    FIRST,
    Range,
    Seal,
    SealKey,
    Tree,
    TrustedKeys,
    admin_line,
    leaf_of,
    ledger_line,
    published,
    read_published,
    unpack,
)
from scoreboard.local import seal_key
from scoreboard.local.trouble import Trouble
from worker.seals_file import SealsFile

AT = datetime(2026, 11, 27, 21, 30, 0, 123456, tzinfo=UTC)
KEY, OTHER_KEY = SealKey.new(), SealKey.new()
HASHES = st.lists(st.binary(min_size=32, max_size=32), max_size=70)


def row(**changes: Any) -> dict[str, Any]:
    return {
        "txid": 7,
        "id": UUID(int=1 << 100),
        "user_ref": 1,
        "action_id": "win-round",
        "kind": 0,
        "outcome": 0,
        "reason": None,
        "score_change": 50,
        "value": None,
        "score_after": 50,
        "reporter": None,
        "reverses": None,
        "revision": 1,
        "accepted_at": AT,
        "applied_at": AT,
    } | changes


def admin_row(**changes: Any) -> dict[str, Any]:
    texts = {"actor": "olga", "action": "ban", "target": "1", "reason": "speed hack"}
    return {"txid": 7, "id": 3, **texts, "before": '{"state": 0}', "after": None, "at": AT} | changes


def root_of(hashes: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, word for word."""
    if not hashes:
        return hashlib.sha256().digest()
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while 2 * k < len(hashes):
        k *= 2
    return hashlib.sha256(b"\1" + root_of(hashes[:k]) + root_of(hashes[k:])).digest()


def chain(count: int, key: SealKey = KEY, **changes: Any) -> list[Seal]:
    seals: list[Seal] = []
    for no in range(1, count + 1):
        covered = Range(
            seal_no=no,
            cluster=9,
            from_txid=(no - 1) * 10,
            to_txid=no * 10,
            row_count=no,
            root=hashlib.sha256(bytes([no])).digest(),
            sealed_at=AT,
        )
        covered = replace(covered, **changes) if no == count else covered
        seals.append(key.sign(covered, seals[-1].seal if seals else FIRST))
    return seals


def followed(seals: list[Seal], key: SealKey = KEY) -> list[tuple[int, str]]:
    audit = Audit()
    following = Chain(TrustedKeys([key.public]), audit)
    for seal in seals:
        following.follow(seal)
    return [(one.seal_no, one.what) for one in audit.differences]


@given(HASHES)
def test_a_tree_that_grows_has_the_root_of_the_rfc(hashes: list[bytes]) -> None:
    tree = Tree(hashes)
    assert (tree.count, tree.root()) == (len(hashes), root_of(hashes))


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=40, unique=True), st.data())
def test_a_row_less_more_or_elsewhere_is_another_root(hashes: list[bytes], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(hashes) - 1))
    less = hashes[:place] + hashes[place + 1 :]
    others = [less, [*less, hashes[place]], [*hashes, hashes[place]], [*hashes[:place], FIRST, *hashes[place:]]]
    assert all(Tree(other).root() != Tree(hashes).root() for other in others if other != hashes)


TEXT = st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
NUMBER = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1))
ROWS = st.fixed_dictionaries(
    {"txid": st.integers(0, 2**63), "action_id": TEXT, "reason": TEXT, "reporter": TEXT, "value": NUMBER},
    optional={"score_change": NUMBER, "kind": NUMBER, "revision": NUMBER, "reverses": st.one_of(st.none(), st.uuids())},
)


@given(ROWS, ROWS)
def test_rows_that_differ_have_lines_that_differ(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert (ledger_line(row(**one)) == ledger_line(row(**other))) == (row(**one) == row(**other))


def test_a_line_is_what_it_always_was() -> None:
    assert ledger_line(row()) == (
        b'["ledger.1",7,"00000010-0000-0000-0000-000000000000",1,"win-round",0,0,null,50,null,50,null,null,1,'
        b"1795815000123456,1795815000123456]"
    )
    assert admin_line(admin_row()) == (
        b'["admin.1",7,3,"olga","ban","1","speed hack","{\\"state\\": 0}",null,1795815000123456]'
    )


@pytest.mark.parametrize("column", sorted(row()))
def test_each_column_of_the_ledger_is_sealed(column: str) -> None:
    changed = {"id": UUID(int=2), "accepted_at": datetime.max, "applied_at": datetime.min}.get(column, 99)
    assert ledger_line(row(**{column: changed})) != ledger_line(row())


@pytest.mark.parametrize("column", sorted(admin_row()))
def test_each_column_of_the_admin_log_is_sealed(column: str) -> None:
    assert admin_line(admin_row(**{column: datetime.max if column == "at" else 99})) != admin_line(admin_row())


def test_leaves_name_their_rows() -> None:
    leaves = [leaf_of(ledger_line(row())), leaf_of(admin_line(admin_row()))]
    assert [str(leaf) for leaf in leaves] == [str(row()["id"]), "admin log 3"]
    assert unpack(b"".join(leaf.packed for leaf in leaves)) == leaves


def test_a_chain_as_it_was_made_is_whole() -> None:
    assert followed(chain(5)) == []


@pytest.mark.parametrize("field", ["cluster", "from_txid", "to_txid", "row_count", "root", "sealed_at"])
def test_a_seal_that_was_changed_is_named(field: str) -> None:
    seals = chain(5)
    now = getattr(seals[2], field)
    changed = {"root": FIRST, "sealed_at": AT.replace(year=2027)}.get(field, now if isinstance(now, bytes) else 1)
    changes: dict[str, Any] = {field: changed}
    seals[2] = replace(seals[2], **changes)
    assert (3, "the seal was changed, or the one before it") in followed(seals)


def test_missing_seals_are_named() -> None:
    assert followed(chain(5)[1:]) == [(2, "seal 1 is missing before it")]
    seals = chain(5)
    assert followed(seals[:1] + seals[3:]) == [(4, "seals 2 to 3 are missing before it")]


def test_a_chain_made_anew_with_another_key_is_not_believed() -> None:
    found = followed(chain(2, OTHER_KEY))
    assert found == [(no, f"no trusted key signed it (key {OTHER_KEY.kid})") for no in (1, 2)]
    # The key's name can be written over, the signature cannot.
    stolen = [replace(seal, kid=KEY.kid) for seal in chain(1, OTHER_KEY)]
    assert followed(stolen) == [(1, f"no trusted key signed it (key {KEY.kid})")]


def test_what_was_published_and_is_missing_or_another_is_named() -> None:
    seals, audit = chain(5), Audit()
    kept = {seal.seal_no: seal.seal for seal in seals[:3]}
    other = chain(2, row_count=99)[1]
    compare_published(audit, kept, [*seals[:4], seals[0], other])
    assert [(one.seal_no, one.what) for one in audit.differences] == [
        (4, f"the seal that was published of {AT} is missing"),
        (2, f"another seal was published of {AT}"),
    ]
    assert audit.published == 5


def test_a_published_seal_is_read_as_it_was() -> None:
    (seal,) = chain(1)
    assert read_published(published(seal)) == seal


def test_a_file_of_seals_survives_a_line_that_was_cut_off(tmp_path: Path) -> None:
    seals, file = chain(4), SealsFile(tmp_path / "seals.jsonl")
    assert file.last() is None
    file.add(seals[:2])
    file.add(seals[1:3])  # what stands last already comes once
    assert file.last() == seals[2]
    with (tmp_path / "seals.jsonl").open("ab") as text:
        text.write(b'{"seal_no": 4, "se')
    assert file.last() == seals[2]
    file.add(seals[3:])
    assert read_seals(tmp_path / "seals.jsonl") == seals


def test_keys_are_kept_for_the_seals_that_they_signed(tmp_path: Path) -> None:
    seal_key.make(tmp_path)
    old = SealKey.load(seal_key.key_file(tmp_path))
    seal_key.make(tmp_path)
    assert SealKey.load(seal_key.key_file(tmp_path)).kid == old.kid
    seal_key.key_file(tmp_path).unlink()
    seal_key.make(tmp_path)
    new, trusted = SealKey.load(seal_key.key_file(tmp_path)), TrustedKeys.load(seal_key.public_file(tmp_path))
    assert new.kid != old.kid
    assert all(trusted.has_signed(chain(1, key)[0]) for key in (old, new))
    assert seal_key.key_file(tmp_path).stat().st_mode & 0o777 == 0o600
    seal_key.key_file(tmp_path).write_text("no key")
    with pytest.raises(Trouble, match="is damaged"):
        seal_key.make(tmp_path)


def test_another_kind_of_key_is_refused(tmp_path: Path) -> None:
    key = generate_private_key(SECP256R1())
    private, public = tmp_path / "key.pem", tmp_path / "public.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(ValueError, match="no Ed25519 key"):
        SealKey.load(private)
    with pytest.raises(ValueError, match="no public Ed25519 keys"):
        TrustedKeys.load(public)
    public.write_text("")
    with pytest.raises(ValueError, match="no public Ed25519 keys"):
        TrustedKeys.load(public)
