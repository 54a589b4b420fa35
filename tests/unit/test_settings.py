"""mesh/settings.py: a wrong setting stops the process and is named."""

from __future__ import annotations

import json

import pytest

from auth_svc.settings import AuthSettings
from mesh.settings import load

GIVEN = {
    "SCOREBOARD_POSTGRES_URL": "postgresql://a",
    "SCOREBOARD_REDIS_URL": "redis://a",
    "SCOREBOARD_RABBITMQ_URL": "amqp://a",
    "SCOREBOARD_ISSUER": "http://gateway.test",
    "SCOREBOARD_MASTER_KEYS_FILE": "keys.json",
    "SCOREBOARD_AUTH_PORT": "1",
    "SCOREBOARD_AUTH_HTTP_PORT": "2",
}
ISSUERS = "SCOREBOARD_AUTH_EXCHANGE_ISSUERS"
STUDIO = {"issuer": "https://id.studio.test", "jwks_url": "https://id.studio.test/jwks", "audience": "scoreboard"}


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Whatever must be given is; a test changes some of it."""
    for name, value in GIVEN.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_good_settings_are_read(given: pytest.MonkeyPatch) -> None:
    assert load(AuthSettings).auth_exchange_issuers == ()
    given.setenv(ISSUERS, json.dumps([STUDIO]))
    assert [each.issuer for each in load(AuthSettings).auth_exchange_issuers] == [STUDIO["issuer"]]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("SCOREBOARD_AUTH_PORT", "0", "SCOREBOARD_AUTH_PORT=0: "),
        ("SCOREBOARD_LOGINS_PER_MINUTE", "many", "SCOREBOARD_LOGINS_PER_MINUTE=many: "),
        (ISSUERS, "nonsense", f"{ISSUERS}=nonsense: must be JSON"),
        (ISSUERS, json.dumps([STUDIO | {"jwks_url": "file:///etc/passwd"}]), "0.jwks_url: "),
        (ISSUERS, json.dumps([STUDIO | {"more": 1}]), "0.more: "),
        (ISSUERS, json.dumps([STUDIO | {"audience": ""}]), "0.audience: "),
        (ISSUERS, json.dumps([STUDIO, STUDIO]), "each issuer stands there once"),
        (ISSUERS, json.dumps([STUDIO | {"issuer": GIVEN["SCOREBOARD_ISSUER"]}]), "SCOREBOARD_ISSUER is not one"),
    ],
)
def test_a_wrong_one_is_named_with_what_it_must_be(
    given: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str, value: str, words: str
) -> None:
    given.setenv(name, value)
    with pytest.raises(SystemExit, match="2"):
        load(AuthSettings)
    (said,) = caplog.messages
    assert said.startswith(name)
    assert words in said


@pytest.mark.parametrize(
    "value",
    [
        "amqp://score_svc:se/cret@127.0.0.1:5672/scoreboard",
        "amqp://score_svc:se?cret@127.0.0.1:5672/scoreboard",
        "amqp://score_svc:se#cret@127.0.0.1:5672/scoreboard",
        "amqp://score_svc:se[cret@127.0.0.1:5672/scoreboard",
        "amqp://score_svc:secret",
        "http://score_svc:secret@127.0.0.1:5672/scoreboard",
        "secret",
        "",
    ],
)
@pytest.mark.parametrize("name", ["POSTGRES", "REDIS", "RABBITMQ"])
def test_an_url_with_a_password_is_refused_without_a_part_of_it(
    given: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str, value: str
) -> None:
    scheme = {"POSTGRES": "postgresql", "REDIS": "redis", "RABBITMQ": "amqp"}[name]
    given.setenv(f"SCOREBOARD_{name}_URL", value.replace("amqp://", f"{scheme}://"))
    with pytest.raises(SystemExit, match="2"):
        load(AuthSettings)
    (said,) = caplog.messages
    assert said.startswith(f"SCOREBOARD_{name}_URL: ")
    assert "each part percent-encoded" in said
    assert "cret" not in said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (
            "POSTGRES",
            "postgresql://auth_svc:a%2Fb@one:5432,two:5432/scoreboard?sslmode=verify-full&sslrootcert=/ca.pem",
        ),
        ("POSTGRES", "postgres://auth_svc@[::1]:5432/scoreboard"),
        ("REDIS", "rediss://auth_svc:a%40b@redis:6379/0?ssl_ca_certs=/ca.pem"),
        ("RABBITMQ", "amqps://auth_svc:a%3Fb@rabbitmq/scoreboard?cacertfile=/ca.pem"),
    ],
)
def test_urls_of_all_forms_that_drivers_know_are_taken(given: pytest.MonkeyPatch, name: str, value: str) -> None:
    given.setenv(f"SCOREBOARD_{name}_URL", value)
    assert getattr(load(AuthSettings), f"{name.lower()}_url") == value
