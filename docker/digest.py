"""Resolves an image's tag to the digest that a registry gives for it now.

python3 docker/digest.py docker.io/library/python:3.11-slim-bookworm
docker.io/library/python@sha256:…       for --build-arg BASE_IMAGE=…
"""

import json
import re
import sys
import urllib.error
import urllib.parse
import urllib.request

_KINDS = (
    "application/vnd.oci.image.index.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.v2+json"
)


def parts(image: str) -> tuple[str, str, str]:
    """registry, repository, tag of an image's name, as `docker pull` reads it."""
    first, _, rest = image.partition("/")
    named = bool(rest) and ("." in first or ":" in first or first == "localhost")
    registry, path = (first, rest) if named else ("docker.io", image)
    repository, _, tag = path.partition(":")
    if registry == "docker.io" and "/" not in repository:
        repository = f"library/{repository}"
    return registry, repository, tag or "latest"


def digest(image: str) -> str:
    """The image with its digest in the tag's place. Raises OSError where the registry says no."""
    registry, repository, tag = parts(image)
    host = "registry-1.docker.io" if registry == "docker.io" else registry
    plain = host.partition(":")[0] in ("localhost", "127.0.0.1")
    address = f"{'http' if plain else 'https'}://{host}/v2/{repository}/manifests/{tag}"
    headers = {"Accept": _KINDS}
    try:
        found = _head(address, headers)
    except urllib.error.HTTPError as error:
        challenge = error.headers.get("WWW-Authenticate", "")
        if error.code != 401 or not challenge.startswith("Bearer "):
            raise
        found = _head(address, headers | {"Authorization": f"Bearer {_token(challenge)}"})
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", found):
        raise OSError(f"{host} gives no digest for {image}")
    return f"{registry}/{repository}@{found}"


def _head(address: str, headers: dict[str, str]) -> str:
    request = urllib.request.Request(address, headers=headers, method="HEAD")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return str(answer.headers.get("Docker-Content-Digest", ""))


def _token(challenge: str) -> str:
    asked = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    query = urllib.parse.urlencode({k: asked[k] for k in ("service", "scope") if k in asked})
    with urllib.request.urlopen(f"{asked['realm']}?{query}", timeout=30) as answer:
        body = json.load(answer)
    return str(body.get("token") or body["access_token"])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python3 docker/digest.py IMAGE:TAG")
    try:
        print(digest(sys.argv[1]))
    except OSError as error:
        sys.exit(f"{sys.argv[1]} could not be resolved: {error}")
