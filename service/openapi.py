"""The OpenAPI document: FastAPI's, and what it cannot know."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from m2d_clap.service import problems
from m2d_clap.service.openai import Error
from m2d_clap.service.schemas import Map, Problem, Query, Waveform

_TEMPLATE = "#/components/schemas/{model}"
_BY_HAND: tuple[type[BaseModel], ...] = (Problem, Error, Query, Map, Waveform)
"""Bodies that routes read or write by hand, and name in their descriptions."""
_UNREADABLE = {
    "description": problems.UNREADABLE.title,
    "content": {problems.MEDIA_TYPE: {"schema": {"$ref": _TEMPLATE.format(model="Problem")}}},
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
        for each in document["paths"].values():
            for operation in each.values():
                # Whatever is asked for: what is no HTTP, or has too long an address.
                operation["responses"].setdefault("400", _UNREADABLE)
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for model in _BY_HAND:
            schema = model.model_json_schema(ref_template=_TEMPLATE)
            schemas.update(schema.pop("$defs", {}))
            schemas[model.__name__] = schema
        return document

    app.openapi = whole  # type: ignore[method-assign]
