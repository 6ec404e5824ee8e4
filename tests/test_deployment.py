"""What is written for Docker, Compose, Kubernetes and Prometheus is valid and speaks of what exists."""

import copy
import http.server
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
import yaml

from m2d_clap.service.settings import Settings

DOCKER = Path(__file__).parent.parent / "docker"
KUBERNETES = sorted(p for p in (DOCKER / "k8s/base").glob("*.yaml") if p.stem != "kustomization")


def tool(name: str) -> str:
    place = Path(sys.executable).with_name(name)
    found = str(place) if place.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (pip install 'm2d-clap[dev]')")
    return found


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def module(name: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded  # where dataclasses look for it
    spec.loader.exec_module(loaded)
    return loaded


def documents(file: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(file.read_text()))


def test_hadolint_has_nothing_to_say_about_the_dockerfile() -> None:
    assert not run(tool("hadolint"), DOCKER / "Dockerfile").strip()


def test_the_compose_file_follows_its_schema_and_every_file_it_mounts_is_there() -> None:
    schema = ("--builtin-schema", "vendor.compose-spec")
    run(tool("check-jsonschema"), *schema, DOCKER / "compose.yml")
    compose = yaml.safe_load((DOCKER / "compose.yml").read_text())
    mounts = [m for s in compose["services"].values() for m in s.get("volumes", ())]
    files = [m.partition(":")[0] for m in mounts if m.startswith("./")]
    assert len(files) >= 7
    assert [f for f in files if not (DOCKER / f).exists()] == []
    profiles = {p for s in compose["services"].values() for p in s.get("profiles", ())}
    assert profiles == {"gpu", "proxy", "observe", "milvus"}


def test_kubernetes_takes_every_manifest_of_the_base_and_of_the_gpu_variant(tmp_path: Path) -> None:
    validate = (tool("kubernetes-validate"), "--strict", "--quiet")
    run(*validate, *KUBERNETES)
    base, patch = documents(DOCKER / "k8s/base/deployment.yaml")[0], DOCKER / "k8s/gpu"
    merged = _merged(base, documents(patch / "deployment.yaml")[0])
    (tmp_path / "gpu.yaml").write_text(yaml.safe_dump(merged))
    run(*validate, tmp_path / "gpu.yaml")
    container = merged["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert {"M2D_CLAP_DEVICE", "M2D_CLAP_KEYS_FILE"} <= {e["name"] for e in container["env"]}


def test_the_kustomization_names_every_manifest() -> None:
    kustomization = documents(DOCKER / "k8s/base/kustomization.yaml")[0]
    assert sorted(kustomization["resources"]) == [p.name for p in KUBERNETES]
    gpu = documents(DOCKER / "k8s/gpu/kustomization.yaml")[0]
    assert gpu["images"][0]["name"] == kustomization["images"][0]["newName"]


def test_every_container_of_the_cluster_is_confined_and_only_the_job_writes_the_index() -> None:
    pods = {}
    for file in KUBERNETES:
        for document in documents(file):
            spec = document.get("spec", {})
            spec = spec.get("jobTemplate", {}).get("spec", spec)
            if "template" in spec:
                pods[f"{document['kind']}"] = spec["template"]["spec"]
    assert pods.keys() == {"Deployment", "Job", "CronJob"}
    for kind, pod in pods.items():
        assert pod["securityContext"]["runAsNonRoot"] and not pod["automountServiceAccountToken"]
        (container,) = pod["containers"]
        confined = container["securityContext"]
        assert confined["readOnlyRootFilesystem"] and not confined["allowPrivilegeEscalation"]
        assert confined["capabilities"] == {"drop": ["ALL"]}
        writable = {m["name"] for m in container["volumeMounts"] if not m.get("readOnly")}
        assert writable == ({"tmp"} if kind == "Deployment" else {"tmp", "index"})


def test_a_server_is_given_longer_to_stop_than_it_takes_to_finish() -> None:
    seconds = Settings.model_validate({"index": "x"}).shutdown_seconds
    pod = documents(DOCKER / "k8s/base/deployment.yaml")[0]["spec"]["template"]["spec"]
    before = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert before[0] == "sleep"
    assert pod["terminationGracePeriodSeconds"] >= seconds + int(before[1])
    compose = yaml.safe_load((DOCKER / "compose.yml").read_text())
    assert int(compose["x-service"]["stop_grace_period"].rstrip("s")) > seconds


def test_the_proxy_takes_as_large_a_body_as_the_service() -> None:
    size = re.search(r"client_max_body_size (\d+)m;", (DOCKER / "proxy/nginx.conf").read_text())
    assert size is not None
    assert int(size[1]) * 2**20 == Settings.model_validate({"index": "x"}).max_upload_bytes


def test_alerts_dashboard_and_autoscaler_name_only_metrics_labels_and_queues_there_are(
    served: str,
) -> None:
    httpx.post(f"{served}/v1/search/text", json={"query": "a tone"}, trust_env=False)
    httpx.get(f"{served}/v1/clips/none", trust_env=False)  # a refusal, so that one is counted
    page = httpx.get(f"{served}/metrics", trust_env=False).text
    there = set(re.findall(r"^(\w+)[{ ]", page, re.MULTILINE))
    dashboard = json.loads((DOCKER / "observe/dashboard.json").read_text())
    shown = [t["expr"] for panel in dashboard["panels"] for t in panel["targets"]]
    alerts = yaml.safe_load((DOCKER / "observe/alerts.yml").read_text())
    rules = [r["expr"] for group in alerts["groups"] for r in group["rules"]]
    scaled = [
        m["pods"]["metric"]
        for m in documents(DOCKER / "k8s/base/autoscaler.yaml")[0]["spec"]["metrics"]
    ]
    asked = " ".join([*shown, *rules, *(metric["name"] for metric in scaled)])
    named = set(re.findall(r"\b(?:m2d_clap|process)_\w+", asked))
    assert len(named) > 12 and named - there == set()
    labels = set(re.findall(r"[{,](\w+)=", page))
    grouped = {l.strip() for g in re.findall(r"by \(([\w, ]+)\)", asked) for l in g.split(",")}
    assert grouped - {"instance", "job"} - labels == set()
    queues = set(re.findall(r'm2d_clap_queue_depth\{queue="(\w+)"', page))
    assert {m["selector"]["matchLabels"]["queue"] for m in scaled} <= queues


class _Registry(http.server.BaseHTTPRequestHandler):
    """One image, for whoever has fetched a token first."""

    def do_GET(self) -> None:
        assert "scope=repository%3Aa%2Fb%3Apull" in self.path
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"token": "t0"}')

    def do_HEAD(self) -> None:
        port = self.server.server_address[1]
        if self.headers["Authorization"] != "Bearer t0":
            self.send_response(401)
            scope = f'Bearer realm="http://127.0.0.1:{port}/token",scope="repository:a/b:pull"'
            self.send_header("WWW-Authenticate", scope)
        elif self.path == "/v2/a/b/manifests/1.0":
            self.send_response(200)
            self.send_header("Docker-Content-Digest", "sha256:" + "5" * 64)
        else:
            self.send_response(404)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def registry() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Registry) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_tag_is_resolved_to_the_digest_its_registry_gives_and_none_is_made_up(
    registry: str,
) -> None:
    digest = module("image_digest", DOCKER / "digest.py")
    assert digest.digest(f"{registry}/a/b:1.0") == f"{registry}/a/b@sha256:{'5' * 64}"
    with pytest.raises(OSError, match="404"):
        digest.digest(f"{registry}/a/b:2.0")
    assert digest.parts("python:3.11-slim") == ("docker.io", "library/python", "3.11-slim")
    assert digest.parts("quay.io/coreos/etcd") == ("quay.io", "coreos/etcd", "latest")


def test_no_digest_is_written_down_where_nobody_could_have_looked_it_up() -> None:
    for file in DOCKER.rglob("*"):
        if file.is_file() and file.suffix != ".pyc":
            assert not re.search(r"sha256:[0-9a-f]{64}", file.read_text()), file


def test_every_command_of_the_documentation_is_run_or_says_why_not() -> None:
    blocks = module("verify_commands", DOCKER / "verify/commands.py").read(DOCKER / "README.md")
    text = (DOCKER / "README.md").read_text()
    assert len(blocks) == text.count("\n```sh\n") == text.count("\n```") / 2
    assert sum(block.not_run is None for block in blocks) >= 12
    for block in blocks:
        if block.not_run is not None:
            assert re.search(
                "GPU|Docker engine|cluster|torch's index|published|registry", block.not_run
            )


def _merged(base: Any, patch: Any) -> Any:
    """A strategic merge, as kustomize does it: named items of lists are merged by name."""
    if isinstance(base, dict) and isinstance(patch, dict):
        both = {k: _merged(base.get(k), v) for k, v in patch.items()}
        return {**copy.deepcopy(base), **both}
    if isinstance(base, list) and isinstance(patch, list):
        named = {item["name"]: item for item in base}
        for item in patch:
            named[item["name"]] = _merged(named.get(item["name"]), item)
        return list(named.values())
    return patch
