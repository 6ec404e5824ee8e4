"""The OpenAPI document: FastAPI's, and what it cannot know."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from m2d_clap.service import problems
from m2d_clap.service.access import GUARDED
from m2d_clap.service.openai import Error
from m2d_clap.service.schemas import Map, Problem, Query, Waveform

_TEMPLATE = "#/components/schemas/{model}"
_BY_HAND: tuple[type[BaseModel], ...] = (Problem, Error, Query, Map, Waveform)
"""Bodies that routes read or write by hand, and name in their descriptions."""
_KEY = {
    "type": "http",
    "scheme": "bearer",
    "description": "an API key, where the server has keys (`m2d-clap keys add`)",
}


def _told(description: str) -> dict[str, Any]:
    schema = {"$ref": _TEMPLATE.format(model="Problem")}
    return {"description": description, "content": {problems.MEDIA_TYPE: {"schema": schema}}}


# Whatever is asked for: what is no HTTP, or has too long an address.
_ALWAYS = {"400": _told(problems.UNREADABLE.title)}
_GUARDED = {
    "401": _told("no valid API key, where the server has keys"),
    "403": _told("this key may not do this"),
    "429": _told("too many requests, where the server limits them"),
    "503": _told("busy, starting, or its index cannot be reached now"),
}


def reference(model: type[BaseModel]) -> dict[str, str]:
    """The schema of a model that is among the components."""
    return {"$ref": _TEMPLATE.format(model=model.__name__)}


def install(app: FastAPI) -> None:
    """Makes `/openapi.json` whole."""
    made = app.openapi

    def whole() -> dict[str, Any]:
        if app.openapi_schema is not None:
            return app.openapi_schema
        document = made()
        for path, each in document["paths"].items():
            guarded = path.startswith(GUARDED)
            for operation in each.values():
                more = _ALWAYS | (_GUARDED if guarded else {})
                operation["responses"] = more | operation["responses"]
                if guarded:
                    operation["security"] = [{"key": []}, {}]  # a server without keys asks for none
        components = document.setdefault("components", {})
        components["securitySchemes"] = {"key": _KEY}
        schemas = components.setdefault("schemas", {})
        for model in _BY_HAND:
            schema = model.model_json_schema(ref_template=_TEMPLATE)
            schemas.update(schema.pop("$defs", {}))
            schemas[model.__name__] = schema
        return document

    app.openapi = whole  # type: ignore[method-assign]
