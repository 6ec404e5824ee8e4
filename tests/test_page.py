"""The page's files over HTTP: all served as what they are, and nothing in them that a strict
policy would refuse."""

import re
import tomllib
from fnmatch import fnmatch
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from m2d_clap.service import page_routes, problems
from m2d_clap.service.headers import SecureHeaders
from m2d_clap.service.page_routes import FOLDER, TYPES

FILES = sorted(path.name for path in FOLDER.iterdir())
MODULES = [name for name in FILES if name.endswith(".js")]
IMPORT = re.compile(r'^import (?:.+ from )?"\./(.+)";$', re.MULTILINE)


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = FastAPI()
    problems.install(app)
    page_routes.install(app)
    app.add_middleware(SecureHeaders)
    return TestClient(app)


class Markup(HTMLParser):
    """Elements with their attributes, and the text inside of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.inline = ""
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self._inside = tag if tag in ("script", "style") else self._inside

    def handle_endtag(self, tag: str) -> None:
        self._inside = "" if tag == self._inside else self._inside

    def handle_data(self, data: str) -> None:
        self.inline += data.strip() if self._inside else ""


@pytest.fixture(scope="module")
def markup() -> Markup:
    return Markup((FOLDER / "index.html").read_text())


def test_the_root_is_the_page_under_a_strict_policy(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.text == (FOLDER / "index.html").read_text()
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy and "unsafe" not in policy and "http" not in policy


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_served_with_its_type(client: TestClient, name: str) -> None:
    answer = client.get(f"/page/{name}")
    assert answer.status_code == 200
    assert answer.content == (FOLDER / name).read_bytes()
    assert answer.headers["content-type"] == TYPES[Path(name).suffix]
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("path", ["/", "/page/main.js"])
def test_an_unchanged_file_is_not_sent_again(client: TestClient, path: str) -> None:
    first = client.get(path)
    again = client.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304
    assert again.content == b""
    assert again.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "path", ["/page/none.js", "/page/../app.py", "/page/%2e%2e/app.py", "/page/"]
)
def test_what_is_no_file_of_the_page_is_not_found(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_markup_holds_nothing_inline(markup: Markup) -> None:
    assert markup.inline == ""
    for tag, attributes in markup.elements:
        assert tag != "style"
        assert tag != "script" or "src" in attributes
        assert not [name for name in attributes if name == "style" or name.startswith("on")]


def test_the_markup_refers_to_files_of_the_page_only(markup: Markup) -> None:
    found = [a.get("src") or a.get("href") or "" for _, a in markup.elements]
    files = [address for address in found if address.startswith("/page/")]
    assert {"/page/main.js", "/page/page.css", "/page/theme.js"} <= set(files)
    assert all((FOLDER / address.removeprefix("/page/")).is_file() for address in files)
    assert {address for address in found if address} - set(files) == {"#main", "/docs"}


@pytest.mark.parametrize("name", [name for name in FILES if name != "index.html"])
def test_no_file_names_another_host_or_makes_code_of_text(name: str) -> None:
    text = (FOLDER / name).read_text().replace("http://www.w3.org/2000/svg", "")
    for bad in ("http:", "https:", "//cdn", "@import", "eval(", "new Function", "innerHTML",
                "outerHTML", "insertAdjacentHTML", "document.write", 'setAttribute("style"'):  # fmt: skip
        assert bad not in text
    assert "url(" not in text
    assert name.endswith(".css") or not re.search(r"\bstyle:", text)


def test_every_module_is_reached_from_main() -> None:
    reached, waiting = set(), ["main.js"]
    while waiting:
        name = waiting.pop()
        reached.add(name)
        found = IMPORT.findall((FOLDER / name).read_text())
        assert all((FOLDER / other).is_file() for other in found)
        waiting += [other for other in found if other not in reached]
    assert reached == set(MODULES) - {"theme.js"}


@pytest.mark.parametrize("name", MODULES)
def test_elements_asked_for_by_id_exist(markup: Markup, name: str) -> None:
    made = re.findall(r'id: "([\w-]+)"', "".join((FOLDER / m).read_text() for m in MODULES))
    known = {attributes.get("id") for _, attributes in markup.elements} | set(made)
    assert set(re.findall(r'byId\("([\w-]+)"\)', (FOLDER / name).read_text())) <= known


def test_every_field_of_the_markup_has_a_name(markup: Markup) -> None:
    labelled = {attributes["for"] for tag, attributes in markup.elements if tag == "label"}
    for tag, attributes in markup.elements:
        if tag == "input" and "hidden" not in attributes:
            assert attributes["id"] in labelled


def test_the_files_are_in_the_package() -> None:
    project = tomllib.loads((FOLDER.parents[1] / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["m2d_clap.service"]
    assert all(any(fnmatch(f"page/{name}", pattern) for pattern in patterns) for name in FILES)
