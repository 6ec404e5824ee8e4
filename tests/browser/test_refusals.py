"""What the page does when the server wants a key, is busy, or does not answer."""

from typing import Any

import pytest

pytestmark = pytest.mark.browser
KEY = "open sesame"


def problem(route: Any, status: int, name: str, title: str, detail: str, **headers: str) -> None:
    route.fulfill(
        status=status,
        json={"type": f"/problems/{name}", "title": title, "status": status, "detail": detail},
        headers={"Content-Type": "application/problem+json", **headers},
    )


def test_a_key_is_asked_for_once_and_kept_for_the_tab(visit: Any) -> None:
    page = visit("/?view=tags")
    page.locator("#library").wait_for(state="attached")
    refused = []

    def guard(route: Any) -> None:
        if route.request.headers.get("authorization") == f"Bearer {KEY}":
            route.continue_()
        else:
            refused.append(route.request.url)
            problem(route, 401, "unauthorized", "A key is needed", "send an API key")

    page.route("**/v1/**", guard)
    page.goto("/?q=church+bell")
    dialog = page.get_by_role("dialog", name="This server wants a key")
    dialog.get_by_label("API key").fill(KEY)
    dialog.get_by_role("button", name="Go on").click()
    page.locator(".row").first.wait_for()
    refused.clear()
    page.locator(".row").first.get_by_role("button", name="Play").click()
    page.get_by_role("button", name="Pause", exact=True).wait_for()
    page.reload()
    page.locator(".row").first.wait_for()
    assert refused == []
    assert page.evaluate("() => Object.values(localStorage)").count(KEY) == 0


def test_a_busy_server_is_waited_for_with_its_reason(visit: Any) -> None:
    page = visit()
    page.locator(".row").first.wait_for()
    times = []

    def busy(route: Any) -> None:
        times.append(1)
        if len(times) > 2:
            route.continue_()
        else:
            problem(route, 503, "worker-down", "The encoders are not running", "they are loading",
                    **{"Retry-After": "1"})  # fmt: skip

    page.route("**/v1/search/text", busy)
    page.keyboard.press("/")
    page.keyboard.insert_text("church bell")
    page.get_by_role("alert").get_by_text("they are loading").wait_for()
    page.get_by_text("best first").wait_for()
    assert not page.get_by_role("alert").is_visible()
    assert len(times) == 3


def test_a_refusal_is_shown_with_its_detail_and_the_next_search_works(visit: Any) -> None:
    page = visit()
    page.locator(".row").first.wait_for()
    page.route(
        "**/v1/search/text",
        lambda route: problem(route, 422, "invalid-request", "A field is wrong", "query: not now"),
    )
    page.keyboard.press("/")
    page.keyboard.insert_text("church")
    page.get_by_role("alert").get_by_text("query: not now").wait_for()
    page.unroute("**/v1/search/text")
    page.keyboard.insert_text(" bell")
    page.get_by_text("best first").wait_for()
    assert not page.get_by_role("alert").is_visible()


def test_a_server_that_is_gone_is_said_to_be(visit: Any) -> None:
    page = visit()
    page.locator(".row").first.wait_for()
    page.route("**/v1/search/text", lambda route: route.abort())
    page.keyboard.press("/")
    page.keyboard.insert_text("church bell")
    page.get_by_role("alert").get_by_text("The server does not answer").wait_for()


def test_a_sound_that_could_not_be_fetched_is_never_another_one(visit: Any) -> None:
    page = visit("/?view=tags")
    page.evaluate("() => sessionStorage.setItem('key', 'any')")  # then the page fetches sounds
    page.goto("/?q=church+bell")
    long, other = (
        page.locator(".row", has=page.get_by_text(name, exact=True))
        for name in ("morning walk.wav", "church_bell-0.wav")
    )
    long.get_by_role("button", name="Play").click()
    page.get_by_role("button", name="Pause", exact=True).wait_for()

    def gone(route: Any) -> None:
        problem(route, 410, "clip-file-gone", "The clip's file has moved", "index it again")

    page.route("**/v1/clips/*/audio", gone)
    for _ in range(2):
        other.get_by_role("button", name="Play").click()
        page.get_by_role("alert").get_by_text("index it again").wait_for()
        page.wait_for_timeout(500)
        assert page.get_by_role("button", name="Play", exact=True).is_visible()
    page.unroute("**/v1/clips/*/audio")
    other.get_by_role("button", name="Play").click()
    page.get_by_role("button", name="Pause", exact=True).wait_for()
