"""Traces, where they are wanted: a span of every request, and below it one of each of its stages."""

import builtins
import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from scipy.io import wavfile

from m2d_clap.service.app import create_app
from m2d_clap.service.engine import Engine
from m2d_clap.service.settings import load
from m2d_clap.service.tracing import Traces, TracesError


def noise() -> bytes:
    file = io.BytesIO()
    samples = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    wavfile.write(file, 16000, samples)
    return file.getvalue()


def test_a_request_is_a_span_with_its_stages_below_it_in_their_order(served_folder: Path) -> None:
    settings = load(
        {"index": served_folder / "index", "precision": "float32", "threads": 1, "decoders": 1}
    )
    exporter = InMemorySpanExporter()
    caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with TestClient(create_app(Engine(settings, Traces(exporter)))) as client:
        end = time.monotonic() + 600
        while client.get("/readyz").status_code != 200:
            assert time.monotonic() < end
            time.sleep(0.1)
        file = {"file": noise()}
        answer = client.post("/v1/search/audio", files=file, headers={"traceparent": caller})
        assert answer.status_code == 200
        assert client.post("/v1/search/text", json={"query": "a wish"}).status_code == 200
    spans = exporter.get_finished_spans()
    roots = {s.name: s for s in spans if s.name.startswith("POST")}
    assert roots.keys() == {"POST /v1/search/audio", "POST /v1/search/text"}
    stages: dict[str, list[Any]] = {name: [] for name in roots}
    for name, root in roots.items():
        below = [
            s
            for s in spans
            if s.parent and root.context and s.parent.span_id == root.context.span_id
        ]
        stages[name] = sorted(below, key=lambda span: span.start_time or 0)
    of_sound = [span.name for span in stages["POST /v1/search/audio"]]
    assert of_sound == ["decode", "queue", "logmel", "encode_audio", "search"]
    assert [s.name for s in stages["POST /v1/search/text"]] == ["queue", "encode_text", "search"]
    for name, root in roots.items():
        for span in stages[name]:
            assert root.start_time <= span.start_time <= span.end_time <= root.end_time
    assert roots["POST /v1/search/audio"].context.trace_id == int(caller.split("-")[1], 16)
    assert "a wish" not in "".join(span.to_json() for span in spans)


def test_without_an_endpoint_there_are_none_and_without_the_packages_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert Traces.to(None).of_requests()["telemetry"]["tracing"] is False
    real = builtins.__import__

    def missing(name: str, *args: Any, **more: Any) -> Any:
        if name.startswith("opentelemetry.exporter"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(TracesError, match=r"pip install 'm2d-clap\[traces\]'"):
        Traces.to("http://127.0.0.1:4318/v1/traces")
