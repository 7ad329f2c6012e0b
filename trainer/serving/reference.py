"""``GET /docs``: the OpenAPI document as a page, which loads nothing from anywhere."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from trainer.serving.page import render

router = APIRouter()


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> HTMLResponse:
    """Every route with its parameters and answers, and every schema."""
    document = request.app.openapi()
    routes = [
        {"path": path, "method": method.upper(), **_route(operation)}
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]
    schemas = {
        name: {
            "description": schema.get("description", ""),
            "fields": [
                {
                    "name": field,
                    "type": type_name(kind),
                    "required": field in schema.get("required", ()),
                    "description": kind.get("description", ""),
                }
                for field, kind in schema.get("properties", {}).items()
            ],
        }
        for name, schema in document.get("components", {}).get("schemas", {}).items()
    }
    return render("docs.html", info=document["info"], routes=routes, schemas=schemas)


def _route(operation: dict[str, Any]) -> dict[str, Any]:
    body = operation.get("requestBody", {}).get("content", {})
    return {
        "summary": operation.get("description") or operation.get("summary", ""),
        "parameters": [
            {
                "name": parameter["name"],
                "in": parameter["in"],
                "type": type_name(parameter["schema"]),
                "description": parameter.get("description", ""),
            }
            for parameter in operation.get("parameters", ())
        ],
        "body": [type_name(content["schema"]) for content in body.values()],
        "answers": {
            status: {
                "description": answer.get("description", ""),
                "type": ", ".join(
                    type_name(content.get("schema", {})) or kind
                    for kind, content in answer.get("content", {}).items()
                ),
            }
            for status, answer in sorted(operation.get("responses", {}).items())
        },
    }


def type_name(schema: dict[str, Any]) -> str:
    """A schema in a few words: ``list of Event``, ``number or null``.

    Examples
    --------
    >>> type_name({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]})
    'date-time or null'
    >>> type_name({"type": "array", "items": {"$ref": "#/components/schemas/Event"}})
    'list of Event'
    """
    if "$ref" in schema:
        return schema["$ref"].rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(type_name(part) for part in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f'"{value}"' for value in schema["enum"])
    if "const" in schema:
        return f'"{schema["const"]}"'
    kind = schema.get("type", "")
    if kind == "array":
        return f"list of {type_name(schema.get('items', {})) or 'anything'}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"map of {type_name(schema['additionalProperties']) or 'anything'}"
    return schema.get("format") or {"string": "text"}.get(kind, kind)
