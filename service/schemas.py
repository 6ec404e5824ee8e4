"""Bodies of requests and answers, as the OpenAPI document shows them."""

from typing import Annotated
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from m2d_clap import index
from m2d_clap.service import tagging

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]
Count = Annotated[int, Field(ge=1, le=1000, description="how many, best first")]


class TextQuery(BaseModel):
    """What a sound should sound like."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"query": "a dog barking", "k": 3}]}
    )

    query: Text
    k: Count = 10


class Clip(BaseModel):
    """A sound of the library."""

    id: str = Field(description="of its content: the same wherever the file lies")
    path: str = Field(description="relative to the library")
    paths: list[str] = Field(description="every file with this content")
    seconds: float
    audio: str = Field(description="where its sound is served")

    @classmethod
    def of(cls, clip: index.Clip) -> "Clip":
        return cls(
            id=clip.id,
            path=clip.path,
            paths=list(clip.paths),
            seconds=clip.seconds,
            audio=f"/v1/clips/{quote(clip.id)}/audio",
        )


class Hit(Clip):
    """A clip that was found, and its best moment."""

    score: float = Field(description="cosine, −1 … 1")
    start: float = Field(description="of the best moment, seconds")
    end: float

    @classmethod
    def of_hit(cls, hit: index.Hit) -> "Hit":
        clip = Clip.of(hit.clip).model_dump()
        return cls(**clip, score=hit.score, start=hit.start, end=hit.end)


class Hits(BaseModel):
    """Clips, best first."""

    hits: list[Hit]

    @classmethod
    def of(cls, hits: list[index.Hit]) -> "Hits":
        return cls(hits=[Hit.of_hit(hit) for hit in hits])


class Tag(BaseModel):
    """A name for what can be heard."""

    name: str
    mid: str | None = Field(description="its AudioSet class, if it is one")
    score: float = Field(description="cosine, −1 … 1")


class Tags(BaseModel):
    """Tags, best first."""

    tags: list[Tag]

    @classmethod
    def of(cls, tags: list[tagging.Tag]) -> "Tags":
        return cls(tags=[Tag(name=t.label.name, mid=t.label.mid, score=t.score) for t in tags])


class Status(BaseModel):
    """That all is well."""

    status: str


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str = Field(examples=["/problems/not-audio"])
    title: str
    status: int
    detail: str
    instance: str
