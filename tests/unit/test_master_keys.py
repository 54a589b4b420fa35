"""mesh/keys.py: the keys of a file are replaced without a restart, and a bad file changes nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mesh import keys
from mesh.keys import MasterKeys, b64url

OLD, NEW = b"1" * 32, b"2" * 32


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with the old key; whoever asks looks at it each time."""
    monkeypatch.setattr(keys, "LOOK_S", 0)
    write(tmp_path / "master-keys.json", 1, {1: OLD})
    return tmp_path / "master-keys.json"


def write(file: Path, current: int, known: dict[int, bytes]) -> None:
    """Puts another file in its place at once, as operators and Kubernetes do."""
    new = file.with_name("new")
    new.write_text(json.dumps({"current": current, "keys": {str(n): b64url(key) for n, key in known.items()}}))
    os.replace(new, file)


def test_another_file_is_read_by_whoever_holds_the_keys(file: Path) -> None:
    held = MasterKeys.load(file)
    before = held.signing_key(1, "session")
    write(file, 1, {1: OLD, 2: NEW})
    assert held.current == 1
    assert held.signing_key(2, "session") == MasterKeys(2, {2: NEW}).signing_key(2, "session")
    write(file, 2, {1: OLD, 2: NEW})
    assert held.current == 2
    assert held.signing_key(1, "session") == before
    write(file, 2, {2: NEW})
    assert set(held.keys) == {2}
    with pytest.raises(KeyError):
        held.signing_key(1, "session")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"current": 1}', '{"current": 2, "keys": {}}', '{"current": 1, "keys": {"1": "AAAA"}}',
     '{"current": 1, "keys": {"one": "AAAA"}}', '{"current": 1, "keys": []}'],
)  # fmt: skip
def test_a_file_that_is_none_leaves_the_keys_as_they_were(file: Path, text: str) -> None:
    held = MasterKeys.load(file)
    file.write_text(text)
    assert (held.current, dict(held.keys)) == (1, {1: OLD})
    with pytest.raises(ValueError) as caught:  # noqa: PT011 -- whatever the words, they must not have the key
        MasterKeys.load(file)
    assert b64url(OLD) not in str(caught.value)
    file.unlink()
    assert held.current == 1
    write(file, 2, {2: NEW})
    assert (held.current, dict(held.keys)) == (2, {2: NEW})
