"""Bodies of requests and answers, as the OpenAPI document shows them. Imports no engine: the client
uses it too."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

LONGEST_FILTER = 4000
MOST_HITS = 1000
MOST_MOMENTS, MOST_MOMENTS_IN_ALL = 100, 10_000
MOST_FIELDS = 50
"""Each unknown one is told: of thousands that would take the server seconds."""

Theme = Literal["light", "dark"]


def _whole(value: Any) -> Any:
    """JSON knows one kind of number: 3.0 is a whole one."""
    whole = isinstance(value, float) and math.isfinite(value) and value.is_integer()
    return int(value) if whole else value


Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]
Identifier = Annotated[str, StringConstraints(min_length=1, max_length=100)]
# The validator last: before the bounds it would keep them out of the document.
Count = Annotated[
    int,
    Field(ge=1, le=MOST_HITS, description="how many, best first"),
    BeforeValidator(_whole),
]
Moments = Annotated[
    int,
    Field(ge=1, le=MOST_MOMENTS, description="how many moments of each recording, best first"),
    BeforeValidator(_whole),
]
Second = Annotated[
    float,
    Field(
        ge=0,
        allow_inf_nan=False,
        description="the moment there alone, as `start` of a hit; without it the whole of the clip",
    ),
]
Cursor = Annotated[
    str,
    Field(
        max_length=8192,
        pattern="^[A-Za-z0-9_-]*$",
        description="`next` of the page before, with the same question",
    ),
]
FilterText = Annotated[
    str,
    Field(
        max_length=LONGEST_FILTER,
        description="what a clip must be: comparisons of id, path, folder, name, format, seconds, "
        "metadata.KEY by = != < <= > >= ~ (pattern) under (folder) in (…), joined by and, or, not, "
        "( )",
        examples=['seconds < 5 and path ~ "birds/*" and not format = "mp3"'],
    ),
]
Metadata = Annotated[str, StringConstraints(min_length=2, max_length=65536)]
ClipIds = Annotated[list[Identifier], Field(max_length=MOST_HITS)]
Within = Annotated[
    ClipIds | Text,
    Field(description="only these clips (a list of ids), or only below this folder (a text)"),
]
Least = Annotated[float, Field(ge=-1, le=1, description="leave out what has a lower cosine")]
LeastRelevance = Annotated[
    float,
    Field(ge=0, le=1, description="leave out what is less relevant, or whose relevance is unknown"),
]
Weight = Annotated[
    float,
    Field(ge=-100, le=100, allow_inf_nan=False, description="below 0: away from it; 0: not at all"),
]


class Body(BaseModel):
    """A request: no unknown fields, and no text where a number belongs."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _few_fields(cls, given: Any) -> Any:
        if isinstance(given, dict) and len(given) > MOST_FIELDS:
            raise ValueError(f"more than {MOST_FIELDS} fields, most of them unknown")
        return given


class Narrowed(Body):
    """What every search in JSON may add."""

    k: Count = 10
    cursor: Cursor | None = None
    filter: FilterText | None = None
    within: Within | None = None
    min_score: Least | None = None
    min_relevance: LeastRelevance | None = None
    moments: Moments = 1

    @model_validator(mode="after")
    def _few_moments(self) -> Self:
        if self.k * self.moments > MOST_MOMENTS_IN_ALL and self.moments > 1:
            raise ValueError(f"k times moments is more than {MOST_MOMENTS_IN_ALL}: ask in pages")
        return self


class TextQuery(Narrowed):
    """What a sound should sound like, and what it should not."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"query": "a dog barking", "k": 3},
                {"query": "rain", "not": ["thunder"], "filter": "seconds >= 2", "k": 3},
            ]
        }
    )

    query: Text
    not_: list[Text] = Field(
        default_factory=list,
        alias="not",
        max_length=20,
        description="each pushes the hits away, with half the weight of the query",
    )


class WeightedText(Body):
    """A text as a part of a question."""

    text: Text
    weight: Weight = 1.0


class WeightedClip(Body):
    """A sound of the library as a part of a question."""

    id: Identifier
    weight: Weight = 1.0
    at: Second | None = None


class Query(Narrowed):
    """Texts, clips and uploads at once. The vectors of the parts, each of length 1, are added,
    each times its weight; the score of a hit is its cosine to that sum."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"texts": [{"text": "birds", "weight": 1.0}], "clips": [], "k": 3}]
        }
    )

    texts: list[WeightedText] = Field(default_factory=list, max_length=50)
    clips: list[WeightedClip] = Field(
        default_factory=list, max_length=50, description="they are not among the hits themselves"
    )
    file_weights: list[Weight] = Field(
        default_factory=list,
        max_length=10,
        description="of the uploads, in their order; 1 for those beyond",
    )


class Clip(BaseModel):
    """A sound of the library."""

    id: str = Field(description="of its content: the same wherever the file lies")
    path: str = Field(description="relative to the library")
    paths: list[str] = Field(description="every file with this content")
    seconds: float
    metadata: dict[str, Any] = Field(description="what else is known of it; may be empty")
    audio: str = Field(description="where its sound is served")
    spectrogram: str = Field(description="where a picture of it is served")
    waveform: str = Field(description="where its loudness along time is served")


class HitMoment(BaseModel):
    """A moment of a clip that was found."""

    score: float = Field(
        description="cosine to the question, −1 … 1; what is found comes in its order"
    )
    relevance: float | None = Field(
        description="the score made readable, 0 … 1: 0.1 is reached by one unrelated pair in forty, "
        "0.9 by this library's closest pairs on average. No probability. null: not known"
    )
    start: float = Field(description="of the moment, seconds")
    end: float


class Hit(HitMoment, Clip):
    """A clip that was found, and its best moment."""

    moments: list[HitMoment] | None = Field(
        None,
        description="the best of it, best first, as many as were asked for and as are no worse than "
        "min_score and min_relevance; null where one was asked for",
    )


class Hits(BaseModel):
    """Clips, best first."""

    hits: list[Hit]
    next: str | None = Field(description="the cursor of the next page; null: there is none")
    total: int = Field(description="clips that were searched: what filter and within admit")


class Clips(BaseModel):
    """Clips of the library, by path."""

    clips: list[Clip]
    next: str | None = Field(description="the cursor of the next page; null: there is none")
    total: int = Field(description="clips that the filter admits")


class Tag(BaseModel):
    """A name for what can be heard."""

    name: str
    mid: str | None = Field(description="its AudioSet class, if it is one")
    score: float = Field(description="cosine, −1 … 1; or the trained head's probability, 0 … 1")
    relevance: float | None = Field(
        description="the cosine made readable, 0 … 1 (see hits); or the probability. null: not known"
    )


class Moment(BaseModel):
    """What can be heard in a stretch of the sound."""

    start: float = Field(description="seconds")
    end: float
    tags: list[Tag] = Field(description="at most 10, best first")


class Tags(BaseModel):
    """Tags, best first."""

    scores: Literal["cosine", "probability"]
    tags: list[Tag]
    timeline: list[Moment] | None = Field(
        None,
        description="stretches of 2 s, of a clip of the library 10 s, one after another; null where "
        "it was not asked for",
    )


class Caption(BaseModel):
    """A sentence for a sound."""

    caption: str
    confidence: float = Field(
        description="geometric mean of its words' probabilities, 0 … 1; not that it is true"
    )


class CaptionedMoment(Caption):
    """A stretch of the sound, and its caption."""

    start: float = Field(description="seconds")
    end: float


class Captions(Caption):
    """The best caption, and others. Sounds over 15 s are captioned ten seconds at a time: then the
    best is the one that most of the sound has."""

    alternatives: list[Caption] = Field(description="at most n − 1, all different; may be empty")
    timeline: list[CaptionedMoment] | None = Field(
        None,
        description="stretches of about 10 s, neighbours of one caption joined; null where it was "
        "not asked for",
    )


class Label(BaseModel):
    """A name that tags can have."""

    name: str
    mid: str | None = Field(description="its AudioSet class, if it is one")


class Labels(BaseModel):
    """What this server can call a sound."""

    labels: list[Label] = Field(description="the built-in vocabulary")
    trained: list[Label] = Field(description="classes of the checkpoint's own head; may be empty")


class IndexFacts(BaseModel):
    """The library as it is searched."""

    library: str = Field(description="the name of its folder")
    clips: int
    windows: int = Field(description="vectors: a clip has one for every ten seconds")
    seconds: float = Field(description="of sound, all clips together")
    generation: int = Field(description="rises whenever the index is made anew")
    changes: int = Field(description="rises with every clip that is added or deleted")
    beside: int = Field(description="windows added since this generation was made")
    kind: str = Field(description="of vector index: flat is exact; ivf-sq8, hnsw and pq are not")
    recall: float | None = Field(
        description="share of the ten best that this kind finds, as measured when it was made"
    )
    fingerprint: str = Field(description="of the model that made the vectors")
    dim: int
    relevance: list[Literal["text", "sound"]] = Field(
        description="kinds of question whose hits have a relevance"
    )


class ModelFacts(BaseModel):
    """The checkpoint that is served."""

    name: str
    licence: str
    fingerprint: str
    dim: int = Field(description="of an embedding")
    sample_rate: int = Field(description="Hz; uploads are resampled to it")
    text_encoder: str = Field(description="none: it understands no text")
    trained_labels: int = Field(description="classes of its own head; 0: it has none")
    captioner: bool = Field(description="whether it can caption sounds")
    max_seconds: float = Field(description="longest upload, seconds")
    max_upload_bytes: int


class Waveform(BaseModel):
    """How loud a clip is along time."""

    id: str
    seconds: float
    covered: float = Field(description="seconds from the start that were looked at; then zeros")
    peaks: list[float] = Field(
        description="the largest sample of each equal stretch, 0 … 1; of a clip that is longer than an "
        "upload may be, of some milliseconds in its middle"
    )


class Map(BaseModel):
    """Every clip as a point; near ones sound alike. Lists of equal length, in one order."""

    ids: list[str]
    x: list[float] = Field(description="−1 … 1")
    y: list[float] = Field(description="−1 … 1")
    names: list[str] = Field(description="paths")


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
    column: int | None = Field(None, description="of a filter that cannot be read, from 1")
    errors: list["FieldError"] | None = Field(None, description="fields that are wrong")


class FieldError(BaseModel):
    """One field, and what is wrong with it."""

    field: str
    message: str
