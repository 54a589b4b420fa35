"""The OpenAPI document says what the contract says, and is one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from mesh.reasons import HTTP_STATUS, Reason
from scripts import openapi, openapi_page, proto

DOCUMENT: dict[str, Any] = json.loads((proto.ROOT / "web/reference/openapi.json").read_text())
OPERATIONS: dict[str, Any] = {
    operation["operationId"]: operation for path in DOCUMENT["paths"].values() for operation in path.values()
}


def test_it_is_valid() -> None:
    assert list(OpenAPIV31SpecValidator(DOCUMENT).iter_errors()) == []


def test_every_reason_stands_there_under_its_status() -> None:
    assert sorted(DOCUMENT["components"]["examples"]) == sorted(Reason)
    for operation in OPERATIONS.values():
        for status, answer in operation["responses"].items():
            for name in answer.get("content", {}).get("application/json", {}).get("examples", {}):
                assert HTTP_STATUS[Reason(name)] == int(status) or (name, status) == ("TOO_LARGE", "431")


def test_bounds_and_needs_are_those_of_the_comments() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    username = schemas["RegisterRequest"]["properties"]["username"]
    assert (username["minLength"], username["maxLength"]) == (1, 100)
    assert schemas["GuestRequest"]["properties"]["username"]["minLength"] == 0
    assert schemas["RegisterRequest"]["required"] == ["username", "password"]
    limit = next(one for one in OPERATIONS["GetLeaderboard"]["parameters"] if one["name"] == "limit")
    assert limit["schema"] == {"type": "integer", "minimum": 1, "maximum": 100, "default": 10}
    assert "newScore" not in schemas["UpdateScoreResponse"]["required"], "absent while PENDING"
    assert "stale" in schemas["GetLeaderboardResponse"]["required"], "false is printed too"


def test_headers_and_statuses_that_no_annotation_has() -> None:
    update = OPERATIONS["UpdateScore"]
    assert [(one["name"], one["required"]) for one in update["parameters"]] == [("X-Signature", True)]
    assert "202" in update["responses"]
    assert "ETag" in OPERATIONS["GetLeaderboard"]["responses"]["304"]["headers"]
    assert OPERATIONS["Login"]["security"] == []
    assert update["security"] == [{"bearer": []}]


def test_a_reason_that_a_comment_makes_up_is_found() -> None:
    with pytest.raises(ValueError, match="MADE_UP is no reason"):
        openapi.named_reasons("Does a thing. Fails with MADE_UP.", {})
    with pytest.raises(ValueError, match="No reasons are named"):
        openapi.named_reasons("Does a thing.", {})


def test_the_page_shows_every_operation_and_needs_nothing_from_elsewhere() -> None:
    page = openapi_page.page(DOCUMENT)
    assert all(f'id="{name}"' in page for name in (*OPERATIONS, *DOCUMENT["components"]["schemas"], *Reason))
    assert "<script" not in page
    assert "style=" not in page
    assert "//" not in page.replace("http://", "").split("<body>")[0]


def test_text_is_escaped_on_the_page() -> None:
    hostile = {**DOCUMENT, "info": {**DOCUMENT["info"], "summary": "<script>alert(1)</script> `<b>`"}}
    page = openapi_page.page(hostile)
    assert "<script" not in page
    assert "<code>&lt;b&gt;</code>" in page
