"""The body shapes of OpenAI's embeddings API, so that its clients work here unchanged."""

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from m2d_clap.model.errors import NotAudioError
from m2d_clap.service.schemas import Body

PATH = "/v1/embeddings"
MOST_INPUTS = 2048
LONGEST_TEXT = 8192

Input = Annotated[str, StringConstraints(min_length=1)]


class EmbeddingsRequest(Body):
    """Texts, or sounds as data URIs."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"input": ["a dog barking", "rain"], "model": "m2d-clap"},
                {"input": "rain", "encoding_format": "base64"},
            ]
        },
    )

    input: Input | Annotated[list[Input], Field(min_length=1, max_length=MOST_INPUTS)] = Field(
        description=f"texts, of at most {LONGEST_TEXT} characters each; with modality audio: data "
        "URIs, as data:audio/wav;base64,…"
    )
    model: str | None = Field(
        None, description="any: the server has one model, whose name is in the answer"
    )
    modality: Literal["text", "audio"] = "text"
    encoding_format: Literal["float", "base64"] = Field(
        "float", description="base64: of little-endian float32"
    )
    dimensions: int | None = Field(
        None, ge=1, description="only the model's own number is understood; see GET /v1/model"
    )
    user: str | None = Field(None, description="ignored")

    @model_validator(mode="after")
    def _not_too_long(self) -> Self:
        if self.modality == "text" and any(len(text) > LONGEST_TEXT for text in self.inputs):
            raise ValueError(f"a text has at most {LONGEST_TEXT} characters: embed its parts")
        return self

    @property
    def inputs(self) -> list[str]:
        return [self.input] if isinstance(self.input, str) else self.input


class Embedding(BaseModel):
    """A vector of length 1."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str = Field(description="numbers, or base64 of float32")


class Usage(BaseModel):
    """Tokens are counted as words, and a sound as none."""

    prompt_tokens: int
    total_tokens: int


class Embeddings(BaseModel):
    """In the order of the inputs."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage


class ErrorFacts(BaseModel):
    message: str
    type: str = Field(examples=["invalid_request_error"])
    param: str | None
    code: str | None = Field(description="the problem's name, as the other routes' types have it")


class Error(BaseModel):
    """That API's error object."""

    error: ErrorFacts


def error(name: str, status: int, detail: str) -> dict[str, Any]:
    """The body of a refusal."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    facts = ErrorFacts(message=detail, type=kind, param=None, code=name.replace("-", "_"))
    return Error(error=facts).model_dump()


def answer(
    vectors: Sequence[NDArray[np.float32]], request: EmbeddingsRequest, model: str
) -> Embeddings:
    """vectors: (dim,) of each input."""
    data = [
        Embedding(index=number, embedding=_written(vector, request.encoding_format))
        for number, vector in enumerate(vectors)
    ]
    words = 0
    if request.modality == "text":
        words = sum(len(text.split()) for text in request.inputs)
    return Embeddings(data=data, model=model, usage=Usage(prompt_tokens=words, total_tokens=words))


def sound_in(uri: str) -> bytes:
    """The bytes of a base64 data URI. Raises NotAudioError where it is none."""
    head, comma, body = uri.partition(",")
    if not (head.lower().startswith("data:") and head.lower().endswith(";base64") and comma):
        raise NotAudioError("a sound is given as a data URI: data:audio/wav;base64,…")
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NotAudioError(f"the data URI's base64 is damaged: {error}") from error


def _written(vector: NDArray[np.float32], form: Literal["float", "base64"]) -> list[float] | str:
    if form == "float":
        return [float(value) for value in vector]
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()
