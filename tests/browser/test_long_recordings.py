"""Long recordings on the page: each of their moments is marked, played, and like others."""

from typing import Any

import pytest

pytestmark = pytest.mark.browser
NAME = "evening.wav"


def row(page: Any) -> Any:
    found = page.locator(".row", has=page.get_by_text(NAME, exact=True))
    found.wait_for()
    return found


def position(page: Any) -> float:
    """Where the player is, in seconds."""
    return float(page.get_by_role("slider", name="Position").get_attribute("aria-valuenow"))


def test_every_moment_that_fits_is_marked_and_can_be_played(visit: Any, until: Any) -> None:
    page = visit("/?q=a+church+bell+is+ringing")
    assert "+1" in row(page).locator(".times").text_content()
    row(page).get_by_role("button", name="Details").click()
    moments = row(page).locator(".about .moments .link")
    assert moments.all_text_contents() == ["0:10", "1:00"]
    assert row(page).locator(".spectrogram .moment").count() == 2
    moments.last.click()
    until(page, lambda: 60 < position(page) < 70)
    moments.first.click()
    until(page, lambda: 10 < position(page) < 20)


def test_a_long_recording_is_tagged_without_being_sent(visit: Any) -> None:
    page = visit("/?q=a+church+bell+is+ringing")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(f"{request.method} {request.url}"))
    row(page).get_by_role("button", name="Details").click()
    tags = row(page).get_by_role("list", name="Tags").get_by_role("listitem")
    tags.first.wait_for()
    assert tags.count() == 10
    assert row(page).locator(".timeline thead button").count() == 13
    assert not [each for each in sent if each.startswith("POST") and each.endswith("/v1/tags")]


def test_more_like_a_recording_means_the_moment_that_was_found(visit: Any, until: Any) -> None:
    page = visit("/?q=a+church+bell+is+ringing")
    row(page).get_by_role("button", name="More like").click()
    chip = page.get_by_label("Also in this search").get_by_text(NAME)
    chip.wait_for()
    assert chip.text_content() in (f"{NAME} at 0:10", f"{NAME} at 1:00")
    assert "%40" in page.url
    page.reload()
    page.get_by_label("Also in this search").get_by_text(f"{NAME} at").wait_for()
    first = page.locator("#results[aria-busy=false] .row .name").first
    until(page, lambda: "bell" in first.text_content() or "walk" in first.text_content())


def test_letters_on_the_map_are_about_the_point_that_is_picked(visit: Any) -> None:
    page = visit("/?q=a+church+bell+is+ringing&view=map")
    page.get_by_text("alike ones lie together").wait_for()
    canvas = page.get_by_role("application")
    page.keyboard.press("l")
    assert "like=" not in page.url
    canvas.focus()
    canvas.press("ArrowRight")
    picked = page.locator(".card .name").text_content()
    canvas.press("l")
    page.get_by_label("Also in this search").get_by_text(picked).wait_for()
