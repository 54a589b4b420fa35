"""Renders an OpenAPI document as the page `/docs`: plain HTML, one style sheet, no script.

Pure. Takes the part of OpenAPI that openapi.py writes. Text is escaped here; of Markdown only `code` is known.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from html import escape
from typing import Any

Json = dict[str, Any]


def page(document: Json) -> str:
    """Returns the HTML; its style sheet, web/reference/docs/style.css, is no part of it."""
    info = document["info"]
    by_tag: dict[str, list[tuple[str, str, Json]]] = {tag["name"]: [] for tag in document["tags"]}
    for path, operations in document["paths"].items():
        for verb, operation in operations.items():
            by_tag[operation["tags"][0]].append((path, verb, operation))
    about_tags = {tag["name"]: tag["description"] for tag in document["tags"]}
    parts = [
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>",
        f"<p>{_text(info['summary'])}</p><p>{_text(info['description'])}</p>",
        '<p>As a document for programs: <a href="/openapi.json">/openapi.json</a> (OpenAPI 3.1).</p>',
    ]
    for tag, operations in by_tag.items():
        parts.append(f'<h2 id="{escape(tag)}">{escape(tag)}</h2><p>{_text(about_tags[tag])}</p>')
        parts += [_operation(*one) for one in operations]
    parts.append('<h2 id="reasons">Reasons</h2>' + _reasons(document["components"]["examples"]))
    parts.append('<h2 id="messages">Messages</h2>')
    parts += [_message(name, schema) for name, schema in document["components"]["schemas"].items()]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(info['title'])}: the HTTP API</title>\n"
        '<link rel="stylesheet" href="/docs/style.css">\n</head>\n<body>\n'
        f"{_contents(by_tag)}\n<main>\n" + "\n".join(parts) + "\n</main>\n</body>\n</html>\n"
    )


def _contents(by_tag: dict[str, list[tuple[str, str, Json]]]) -> str:
    groups = [
        f"<strong>{escape(tag)}</strong><ul>"
        + "".join(f'<li><a href="#{one["operationId"]}">{one["operationId"]}</a></li>' for *_, one in operations)
        + "</ul>"
        for tag, operations in by_tag.items()
    ]
    ends = '<ul><li><a href="#reasons">Reasons</a></li><li><a href="#messages">Messages</a></li></ul>'
    return f'<nav aria-label="Contents">{"".join(groups)}{ends}</nav>'


def _operation(path: str, verb: str, operation: Json) -> str:
    name = operation["operationId"]
    about: str = operation["description"] if "description" in operation else operation["summary"]
    token = {0: "No token.", 1: "Needs a token.", 2: "Takes a token."}[len(operation["security"])]
    parts = [
        f'<section class="operation"><h3 id="{name}">{name}</h3>',
        f'<p><span class="verb">{verb}</span> <code>{escape(path)}</code> · {token}</p>',
        f"<p>{_text(about)}</p>",
    ]
    if parameters := operation.get("parameters"):
        rows = (
            (f"<code>{escape(p['name'])}</code>", f"{p['in']}, {_type(p['schema'])}", _text(p["description"]))
            for p in parameters
        )
        parts.append(_table(("Parameter", "Is", "Means"), rows))
    for kind, media in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"<p>Body: {_type(media['schema'])} as <code>{escape(kind)}</code></p>")
        if "example" in media:
            parts.append(f"<pre><code>{escape(json.dumps(media['example'], indent=2))}</code></pre>")
    parts.append(_table(("Status", "Brings", ""), (_answer(*one) for one in operation["responses"].items())))
    return "\n".join(parts) + "</section>"


def _answer(status: str, answer: Json) -> tuple[str, str, str]:
    kind = "good" if status < "4" else "bad"
    media = [_type(one["schema"]) for one in answer.get("content", {}).values()]
    headers = "".join(f" <code>{escape(name)}</code>" for name in answer.get("headers", {}))
    about = re.sub(
        r"\b[A-Z]{3,}[A-Z_]*\b", lambda name: f'<a href="#{name[0]}">{name[0]}</a>', _text(answer["description"])
    )
    brings = "" if kind == "bad" else " ".join(media)
    return (
        f'<span class="{kind}">{status}</span>',
        about if kind == "bad" else _text(answer["description"]),
        brings + headers,
    )


def _reasons(examples: Json) -> str:
    rows = (
        (f'<code id="{name}">{name}</code>', escape(one["value"]["error"]), _text(one["summary"]))
        for name, one in examples.items()
    )
    return _table(("Reason", "error", "Means"), rows)


def _message(name: str, schema: Json) -> str:
    needed = schema.get("required", [])
    rows = (
        (
            f"<code>{escape(field)}</code>",
            _type(one) + (", always" if field in needed else ""),
            _text(one.get("description", "")),
        )
        for field, one in schema.get("properties", {}).items()
    )
    return f'<h3 id="{name}">{name}</h3><p>{_text(schema["description"])}</p>' + _table(("Field", "Is", "Means"), rows)


def _type(schema: Json) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    if "items" in schema:
        return f"list of {_type(schema['items'])}"
    if "const" in schema:
        return f"<code>{escape(json.dumps(schema['const']))}</code>"
    if "enum" in schema:
        return " or ".join(f"<code>{escape(value)}</code>" for value in schema["enum"])
    default = f", default <code>{escape(str(schema['default']))}</code>" if "default" in schema else ""
    kind = schema.get("type", "")
    return escape(kind if isinstance(kind, str) else " or ".join(kind)) + default


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    titles = "".join(f'<th scope="col">{title}</th>' for title in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>\n" for row in rows)
    return (
        f'<div class="scroll"><table><thead><tr>{titles}</tr></thead><tbody>\n{body}</tbody></table></div>'
        if body
        else ""
    )


def _text(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
