"""Answers as the OpenAPI document shows them."""

from typing import Any

CLIP: dict[str, Any] = {
    "id": "e5c0c7c0770cc831",
    "path": "church_bell/church_bell-1.wav",
    "paths": ["church_bell/church_bell-1.wav"],
    "seconds": 4.68,
    "metadata": {},
    "audio": "/v1/clips/e5c0c7c0770cc831/audio",
    "spectrogram": "/v1/clips/e5c0c7c0770cc831/spectrogram.png",
    "waveform": "/v1/clips/e5c0c7c0770cc831/waveform.json",
}
UPLOADED = CLIP | {
    "path": "uploads/e5c0c7c0770cc831/bell.wav",
    "paths": ["uploads/e5c0c7c0770cc831/bell.wav"],
    "metadata": {"title": "Evening bell"},
}
HITS = {
    "hits": [CLIP | {"score": 0.306, "relevance": 0.93, "start": 0.0, "end": 4.68}],
    "next": None,
    "total": 224,
}
CLIPS = {"clips": [CLIP], "next": None, "total": 1}
BARK = {"name": "Bark", "mid": "/m/05tny_", "score": 0.31, "relevance": 0.91}
TAGS = {
    "scores": "cosine",
    "tags": [BARK],
    "timeline": [{"start": 0.0, "end": 2.0, "tags": [BARK]}],
}
CAPTIONS = {
    "caption": "a dog barking",
    "confidence": 0.62,
    "alternatives": [{"caption": "a small dog yapping", "confidence": 0.41}],
    "timeline": [{"start": 0.0, "end": 4.68, "caption": "a dog barking", "confidence": 0.62}],
}
EMBEDDINGS = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.6, -0.8]}],
    "model": "m2d-clap-mini",
    "usage": {"prompt_tokens": 3, "total_tokens": 3},
}
INDEX = {
    "library": "sounds",
    "clips": 224,
    "windows": 230,
    "seconds": 1021.5,
    "generation": 3,
    "changes": 12,
    "beside": 2,
    "kind": "flat",
    "recall": 1.0,
    "fingerprint": "8938ea177a96fca29f4fc0d0d6af16c7889b99a63839cc55b601f1150f854ec6",
    "dim": 384,
    "relevance": ["text", "sound"],
}
MODEL = {
    "name": "m2d-clap-mini",
    "licence": "Apache-2.0",
    "fingerprint": INDEX["fingerprint"],
    "dim": 384,
    "sample_rate": 16000,
    "text_encoder": "minilm",
    "trained_labels": 0,
    "captioner": True,
    "max_seconds": 600.0,
    "max_upload_bytes": 67108864,
}
LABELS = {"labels": [{"name": "Bark", "mid": "/m/05tny_"}], "trained": []}
WAVEFORM = {"id": CLIP["id"], "seconds": 4.68, "covered": 4.68, "peaks": [0.02, 0.81, 0.4, 0.11]}
MAP = {"ids": [CLIP["id"]], "x": [0.12], "y": [-0.4], "names": [CLIP["path"]]}
