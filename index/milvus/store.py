"""The searchable index whose windows lie in Milvus. Its catalogue lies in a folder, where it is written."""

import math
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m2d_clap.index.calibration import Calibration, drawn
from m2d_clap.index.catalogue import CATALOGUE_FILE, Catalogue
from m2d_clap.index.clips import Clip, Clips, Ordered, places
from m2d_clap.index.columns import Columns, Mask
from m2d_clap.index.errors import LibraryIndexError
from m2d_clap.index.filters import Filter
from m2d_clap.index.hits import Hit, Place, mean_of, unit_query, units
from m2d_clap.index.interface import ALL
from m2d_clap.index.milvus.collection import MOST, Collection, clip_of
from m2d_clap.index.milvus.expressions import expression, one_of, quoted
from m2d_clap.index.moments import moments_of
from m2d_clap.index.origin import Origin

_CLIPS = "position == 0"


class MilvusIndex:
    """Searches see what is in Milvus at that moment; what is told of all clips together is that of
    the moment when it was first asked for.

    state: `generation`, `changes`, `dim`, `kind`, the fields of Origin and of a Calibration.
    """

    remote = True
    beside = gone = 0
    recall = None

    def __init__(self, collection: Collection, state: dict[str, Any]) -> None:
        self.collection = collection
        self.state = state
        self.folder = collection.address.folder
        paths = Path(state["checkpoint"]), Path(state["library"])
        self.origin = Origin(state["fingerprint"], *paths)

    @property
    def library(self) -> Path:
        return self.origin.library

    @property
    def checkpoint(self) -> Path:
        return self.origin.checkpoint

    @property
    def fingerprint(self) -> str:
        return self.origin.fingerprint

    @property
    def dim(self) -> int:
        return int(self.state["dim"])

    @property
    def generation(self) -> int:
        return int(self.state["generation"])

    @property
    def changes(self) -> int:
        return int(self.state["changes"])

    @property
    def kind(self) -> str:
        return f"milvus {self.state['kind']}"

    @property
    def calibration(self) -> Calibration | None:
        learned = self.state["calibration"]
        return None if learned is None else Calibration(learned["slope"], learned["offset"])

    def __len__(self) -> int:
        return self._count

    @cached_property
    def _count(self) -> int:
        return self.collection.count(_CLIPS)

    @cached_property
    def windows(self) -> int:
        return self.collection.count("position >= 0")

    @cached_property
    def seconds(self) -> float:
        return float(self._held[0].seconds.sum())

    @property
    def clips(self) -> Sequence[Clip]:
        return Ordered(np.arange(len(self._held[0])), self._held[0].__getitem__)

    def refreshed(self) -> "MilvusIndex":
        """What the folder's catalogue was told since is brought to Milvus first."""
        file = self.folder / CATALOGUE_FILE
        state = self.collection.state()
        if state is None:
            raise LibraryIndexError(f"{self.collection.address.text} is being made anew")
        if file.is_file() and state["fingerprint"] == self.fingerprint:
            state = self._brought(file, state)
        return self if state == self.state else MilvusIndex(self.collection, state)

    def _brought(self, file: Path, state: dict[str, Any]) -> dict[str, Any]:
        with Catalogue.reading(file) as catalogue:
            last = catalogue.changes.last()
            if last <= state["changes"]:
                return state
            touched = catalogue.changes.since(state["changes"])
        there = [(a.clip, a.windows) for a in touched.values() if a is not None and a.windows]
        self.collection.put(there)
        kept = {clip.id for clip, _ in there}
        self.collection.delete([clip for clip in touched if clip not in kept])
        state = {**state, "changes": last}
        self.collection.note(state, self.dim)
        return state

    def check_model(self, fingerprint: str, checkpoint: Path) -> None:
        given = Origin(fingerprint, checkpoint.resolve(), self.library)
        self.origin.refuse_other(given, self.collection.address.text)

    def clip(self, clip_id: str) -> Clip | None:
        if not clip_id.isprintable():
            return None
        found = self.collection.query(f"{_CLIPS} and clip == {quoted(clip_id)}", ["facts"], 1)
        return clip_of(found[0]["facts"]) if found else None

    def files(self, clip: Clip) -> list[Path]:
        return places(clip, self.library, self.folder)

    def admitted(self, where: Filter | None) -> Mask:
        if where is None:
            return np.ones(len(self._held[0]), np.bool_)
        return self._columns.mask(where)

    def count(self, where: Filter | None) -> int:
        if where is None:
            return len(self)
        return self.collection.count(f"{_CLIPS} and ({self._expression(where)})")

    def sample(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        clips, counts = self._held
        owners = np.repeat(np.arange(len(clips)), counts)
        rows = np.array(drawn(len(owners)), np.int64)
        first = np.cumsum(counts) - counts
        wanted = [
            (clips.ids[int(n)], int(r - first[n])) for n, r in zip(owners[rows], rows, strict=True)
        ]
        return self._rows(wanted), owners[rows]

    def vectors(self, hits: Sequence[Hit]) -> NDArray[np.float32]:
        return self._rows([(hit.clip.id, hit.row) for hit in hits])

    def moments(
        self,
        hits: Sequence[Hit],
        embedding: NDArray[np.float32],
        most: int,
        least: float | None = None,
    ) -> list[list[Hit]]:
        query = unit_query(embedding, self.dim)[0]
        return moments_of(hits, partial(self._nearest, query), most, least)

    def _nearest(
        self, query: NDArray[np.float32], clips: Sequence[Clip], most: int
    ) -> list[list[Hit]]:
        """Few questions for many clips: those that have enough windows among the best of all are left
        out of the next one."""
        found: dict[str, list[Hit]] = {}
        together = max(1, MOST // most)
        for at in range(0, len(clips), together):
            wanted = {clip.id: clip for clip in clips[at : at + together]}
            while wanted:
                fetch = min(MOST, most * len(wanted))
                near = self.collection.nearest(query, fetch, one_of("clip", wanted))
                found |= {clip: [] for clip in wanted}
                for score, row in near:
                    clip, position = wanted[row["clip"]], int(row["position"])
                    found[clip.id].append(Hit(clip, score, row["start"], row["end"], position))
                if len(near) < fetch:
                    break
                # As many windows as that cannot be without a clip that has enough of them.
                wanted = {c: clip for c, clip in wanted.items() if len(found[c]) < most}
        return [found[clip.id][:most] for clip in clips]

    def _rows(self, rows: Sequence[tuple[str, int]]) -> NDArray[np.float32]:
        return self.collection.vectors(rows) if rows else np.zeros((0, self.dim), np.float32)

    def along(self, clip: Clip) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        names = ["position", "start", "end", "vector"]
        found = [*self.collection.all(f"clip == {quoted(clip.id)}", names)]
        if not found:
            raise LibraryIndexError(f"{clip.path} was deleted just now: ask again")
        found.sort(key=lambda row: int(row["position"]))
        times = np.array([(row["start"], row["end"]) for row in found], np.float64)
        return times, np.array([row["vector"] for row in found], np.float32)

    def vector(self, clip: Clip, at: float | None = None) -> NDArray[np.float32]:
        return mean_of(*self.along(clip), at)

    def means(self, clips: slice = ALL) -> NDArray[np.float32]:
        held, counts = self._held
        if clips == ALL:
            sums = np.zeros((len(held), self.dim), np.float32)
            for row in self.collection.all("position >= 0", ["clip", "vector"]):
                if (number := held.number(row["clip"])) is not None:
                    sums[number] += np.array(row["vector"], np.float32)
        else:
            chosen = np.arange(len(held))[clips]
            rows = [(held.ids[n], at) for n in chosen.tolist() for at in range(int(counts[n]))]
            sums = np.zeros((len(chosen), self.dim), np.float32)
            places = np.repeat(np.arange(len(chosen)), counts[chosen])
            np.add.at(sums, places, self._rows(rows))
        return units(sums)

    def search(
        self,
        embedding: NDArray[np.float32],
        k: int = 10,
        where: Filter | None = None,
        least: float | None = None,
        after: Place | None = None,
        leave_out: frozenset[str] = frozenset(),
    ) -> list[Hit]:
        """As SearchIndex has it. Clips whose best window is known are left out of the next round, so
        that none hides the others by its many windows, and Milvus' limit is none of ours."""
        query = unit_query(embedding, self.dim)[0]
        if k < 1:
            raise LibraryIndexError(f"k is {k}: ask for at least one hit")
        passed = (-math.inf, "") if after is None else (-after.score, after.clip)
        asked = "position >= 0" if where is None else f"({self._expression(where)})"
        lowest_wanted = -math.inf if least is None else float(np.float32(least))
        fetch = min(MOST, 2 * (k + (0 if after is None else after.passed)) + 8)
        best: dict[str, Hit] = {}
        seen = {*leave_out, "", passed[1]}
        while True:
            narrowed = f"{asked} and not ({one_of('clip', sorted(seen))})"
            found = self.collection.nearest(query, fetch, narrowed)
            for score, row in found:
                if row["clip"] not in best:
                    clip, position = clip_of(row["facts"]), int(row["position"])
                    best[clip.id] = Hit(clip, score, row["start"], row["end"], position)
            ordered = sorted(
                (hit for hit in best.values() if hit.score >= lowest_wanted),
                key=lambda hit: (-hit.score, hit.clip.id),
            )
            hits = [hit for hit in ordered if (-hit.score, hit.clip.id) > passed][:k]
            lowest = found[-1][0] if len(found) == fetch else -math.inf
            # Beyond the lowest score there may be more of the same score.
            enough = len(hits) == k and lowest < hits[-1].score
            if enough or len(found) < fetch or lowest < lowest_wanted:
                return hits
            seen |= best.keys()
            fetch = min(4 * fetch, MOST)

    def _expression(self, where: Filter) -> str:
        return expression(where, self._ids)

    def _ids(self, where: Filter) -> list[str]:
        ids = self._held[0].ids
        return [ids[int(number)] for number in np.flatnonzero(self._columns.mask(where))]

    @cached_property
    def _held(self) -> tuple[Clips, NDArray[np.int64]]:
        """Every clip, by first path, and how many windows each has: some 300 bytes a clip, read when
        all clips together are first asked about."""
        told = [row["facts"] for row in self.collection.all(_CLIPS, ["facts"])]
        clips = sorted(((clip_of(facts), facts) for facts in told), key=lambda one: one[0].path)
        counts = np.array([facts["windows"] for _, facts in clips], np.int64)
        return Clips.of(clip for clip, _ in clips), counts

    @cached_property
    def _columns(self) -> Columns:
        return Columns(self._held[0])
