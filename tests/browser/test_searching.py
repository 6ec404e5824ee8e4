"""A person searches, listens from the marked moment, steers and exports, in a real browser."""

import csv
import io
import re
from typing import Any

import pytest

pytestmark = pytest.mark.browser
BELL = "a church bell is ringing"
WALK = "morning walk.wav"


def searched(page: Any, text: str = BELL) -> Any:
    """Types a sentence; returns the rows, once those of the whole sentence are there."""

    def answers(response: Any) -> bool:
        asked = response.request.post_data or ""
        return response.url.endswith("/v1/search/text") and text in asked

    page.keyboard.press("/")
    with page.expect_response(answers):
        page.keyboard.type(text)
    page.locator("#results[aria-busy=false] .row").first.wait_for()
    return page.locator(".row")


def row_of(page: Any, name: str) -> Any:
    row = page.locator(".row", has=page.get_by_text(name, exact=True))
    row.wait_for()
    return row


def position(page: Any) -> float:
    """Where the player is, in seconds."""
    return float(page.get_by_role("slider", name="Position").get_attribute("aria-valuenow"))


@pytest.mark.parametrize("dark", [False, True])
def test_typing_finds_and_space_plays_from_the_marked_moment(
    visit: Any, until: Any, dark: bool
) -> None:
    page = visit(dark=dark)
    searched(page)
    assert "q=a+church+bell+is+ringing" in page.url
    row = row_of(page, WALK)
    assert "0:20–0:30" in row.text_content()
    row.focus()
    page.keyboard.press("Space")
    page.get_by_role("button", name="Pause", exact=True).wait_for()
    until(page, lambda: 20.1 < position(page) < 30)
    page.keyboard.press("Space")
    page.get_by_role("button", name="Play", exact=True).wait_for()
    still = position(page)
    page.wait_for_timeout(300)
    assert position(page) == still
    background = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, re.findall(r"\d+", background))) < 60) == dark


def test_pressing_a_waveform_plays_from_there(visit: Any, until: Any) -> None:
    page = visit("/?q=church+bell")
    wave = row_of(page, WALK).locator("canvas")
    box = wave.bounding_box()
    wave.click(position={"x": box["width"] * 0.8, "y": box["height"] / 2})
    until(page, lambda: 40 < position(page) < 45)


def test_a_sound_is_dragged_out_by_its_name_unless_it_needs_a_key(visit: Any) -> None:
    drag = """names => {
      const dataTransfer = new DataTransfer();
      const event = new DragEvent("dragstart", { dataTransfer, bubbles: true, cancelable: true });
      return names.dispatchEvent(event) ? dataTransfer.getData("DownloadURL") : null;
    }"""
    page = visit("/?q=church+bell")
    names = row_of(page, WALK).locator(".names")
    kind, name, address = names.evaluate(drag).split(":", 2)
    assert (kind, name) == ("application/octet-stream", WALK)
    answer = page.request.get(address)
    assert answer.ok and answer.body()[:4] == b"RIFF"
    page.evaluate("() => sessionStorage.setItem('key', 'm2d_x')")
    assert names.evaluate(drag) is None


def test_the_moment_is_drawn_in_its_colour(visit: Any, until: Any) -> None:
    page = visit("/?q=church+bell")
    canvas = row_of(page, WALK).locator("canvas")
    look = """(canvas) => { const brush = canvas.getContext("2d");
        return [0.1, 0.5, 0.9].map((share) =>
            brush.getImageData(Math.round(share * canvas.width), 1, 1, 1).data[3]); }"""
    until(page, lambda: canvas.evaluate(look) == [0, 255, 0])


def test_a_search_can_be_linked_and_gone_back_to(visit: Any) -> None:
    page = visit("/?q=heavy+rain&in=rain")
    page.locator(".row").first.wait_for()
    assert page.get_by_label("A sentence that says").input_value() == "heavy rain"
    assert all("rain" in text for text in page.locator(".row .names").all_inner_texts())
    page.locator(".row").first.focus()
    row_of(page, "rain-0.wav").get_by_role("button", name="More like").click()
    page.get_by_label("Also in this search").get_by_text("rain-0.wav").wait_for()
    assert "like=" in page.url
    page.go_back()
    page.get_by_label("Also in this search").get_by_text("rain-0.wav").wait_for(state="detached")
    assert "like=" not in page.url


def test_not_like_this_pushes_away(visit: Any, until: Any) -> None:
    page = visit("/?q=church+bell")
    first = page.locator(".row .name").first
    first.wait_for()
    name = first.inner_text()
    page.locator(".row").first.get_by_role("button", name="Not like").click()
    page.get_by_label("Also in this search").get_by_text(name).wait_for()
    until(page, lambda: page.locator(".row .name").first.inner_text() != name)


def test_more_rows_come_with_scrolling(visit: Any) -> None:
    page = visit("/?q=bell")
    rows = page.locator(".row")
    rows.first.wait_for()
    few = rows.count()
    for _ in range(20):
        page.mouse.move(640, 400)
        page.mouse.wheel(0, 4000)
        page.wait_for_timeout(100)
        if rows.count() > few:
            break
    assert rows.count() > few
    names = page.locator(".row .names").all_text_contents()  # those out of sight too
    assert len(names) == len(set(names))


def test_keys_move_open_help_and_leave(visit: Any) -> None:
    page = visit()
    searched(page)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    row = page.locator(".row").nth(1)
    assert row.evaluate("(node) => node === document.activeElement")
    page.keyboard.press("Enter")
    row.get_by_role("heading", name="About it").wait_for()
    row.get_by_role("list", name="Tags").wait_for()
    row.get_by_role("img", name="Spectrogram").wait_for()
    assert "clip=" in page.url
    page.keyboard.press("Escape")
    row.get_by_role("heading", name="About it").wait_for(state="detached")
    page.keyboard.press("?")
    help_ = page.get_by_role("dialog", name="Keys")
    help_.wait_for()
    page.keyboard.press("Escape")
    help_.wait_for(state="detached")
    page.keyboard.press("m")
    page.get_by_role("application").wait_for()
    page.keyboard.press("t")
    page.get_by_role("button", name="Choose a sound").wait_for()
    page.keyboard.press("/")
    assert page.get_by_label("A sentence that says").evaluate(
        "(node) => node === document.activeElement"
    )


def test_single_letters_can_be_switched_off(visit: Any) -> None:
    page = visit()
    page.keyboard.press("?")
    page.get_by_label("single letters work").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("m")
    assert "view=map" not in page.url


def test_hits_are_exported_as_csv_and_playlists(visit: Any, address: str) -> None:
    page = visit("/?q=church+bell")
    count = page.locator(".row")
    count.first.wait_for()

    def exported(name: str) -> str:
        page.locator("#export summary").click()
        with page.expect_download() as download:
            page.get_by_role("button", name=name).click()
        text: str = download.value.path().read_text()
        return text

    rows = list(csv.DictReader(io.StringIO(exported("CSV"))))
    assert len(rows) == count.count()
    walk = next(row for row in rows if row["path"] == f"field/{WALK}")
    assert float(walk["start"]) == 20 and float(walk["end"]) == 30
    assert walk["audio"].startswith(address)
    links = exported("Playlist of links").splitlines()
    assert links[0] == "#EXTM3U"
    at = links.index(walk["audio"])
    assert links[at - 2 : at] == [f"#EXTINF:50,{WALK}", "#EXTVLCOPT:start-time=20"]
    assert f"field/{WALK}" in exported("Playlist of files").splitlines()


def test_awkward_paths_survive_the_csv(visit: Any) -> None:
    page = visit()
    path = 'a, "b"\nc;é.wav'
    text = page.evaluate(
        """(path) => import("/page/export.js").then((module) =>
            module.csv([{ path, seconds: 1, id: "x", audio: "/a", metadata: { note: path } }]))""",
        path,
    )
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["path"] == path and row["note"] == path


def test_following_plays_while_moving(visit: Any) -> None:
    page = visit("/?q=church+bell")
    page.locator(".row").first.wait_for()
    page.keyboard.press("a")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    name = page.locator(".row.selected .name").inner_text()
    page.locator("#player .name", has_text=name).wait_for()
    page.get_by_role("button", name="Pause", exact=True).wait_for()


def test_nothing_found_and_no_words_are_said_so(visit: Any) -> None:
    page = visit("/?q=church+bell&in=nowhere/")
    page.get_by_text("No sound fits.").wait_for()


def test_pages_without_a_hit_are_looked_through_when_that_is_wanted(visit: Any) -> None:
    page = visit()
    clip = page.request.get("/v1/clips?k=1").json()["clips"][0]["id"]
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"/?q=church+bell&like={clip}&relevance=100")
    page.get_by_text("No sound fits.").wait_for()
    further = page.get_by_role("button", name="Look further")
    for pages in (1, 2):
        further.wait_for()
        page.wait_for_timeout(300)
        assert len([url for url in asked if url.endswith("/v1/search")]) == pages
        with page.expect_response("**/v1/search"):
            further.click()
    further.wait_for(state="detached")
    assert page.get_by_text("No sound fits.").is_visible()


@pytest.mark.parametrize("path", ["/?q=church+bell", "/?view=tags", "/?view=map", "/?q=x&in=rain"])
def test_a_phone_shows_all_without_scrolling_sideways(visit: Any, path: str) -> None:
    page = visit(path, phone=True)
    page.wait_for_timeout(500)
    wide, seen = page.evaluate(
        "() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert wide <= seen


@pytest.mark.parametrize("path", ["/?q=church+bell", "/?view=tags", "/?view=map"])
def test_everything_that_can_be_pressed_has_a_name(visit: Any, path: str) -> None:
    page = visit(path)
    page.wait_for_timeout(500)
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, a, summary, input, [tabindex]")]
            .filter((node) => node.checkVisibility() && !(node.textContent.trim() || node.title
                || node.ariaLabel || node.labels?.length || node.getAttribute("aria-labelledby")
                || node.id === "main"))
            .map((node) => node.outerHTML)"""
    )
    assert nameless == []


def test_the_switch_goes_through_the_themes(visit: Any) -> None:
    page = visit(dark=True)
    look = "() => getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(look)
    page.get_by_role("button", name="Colours: as the system").click()
    light = page.evaluate(look)
    assert light != dark
    page.reload()
    assert page.evaluate(look) == light
    page.get_by_role("button", name="Colours: light").click()
    assert page.evaluate(look) == dark


def test_another_sentence_leaves_what_was_opened_before_behind(visit: Any) -> None:
    page = visit("/?q=rain")
    row = page.locator(".row").first
    row.wait_for()
    row.focus()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="About it").wait_for()
    page.get_by_label("A sentence that says").fill("church bell")
    page.wait_for_url("**q=church+bell**")
    page.get_by_role("heading", name="About it").wait_for(state="detached")
    assert "clip=" not in page.url


def test_a_further_page_that_failed_can_be_asked_for_again(visit: Any, until: Any) -> None:
    page = visit("/?q=bell")
    page.locator(".row").first.wait_for()
    few = page.locator(".row").count()
    page.route("**/v1/search/text", lambda route: route.abort())
    page.locator("#ending").scroll_into_view_if_needed()
    again = page.get_by_role("button", name="Try again")
    again.wait_for()
    page.unroute("**/v1/search/text")
    again.click()
    until(page, lambda: page.locator(".row").count() > few)


def test_arrows_on_the_volume_set_it_and_move_nothing_else(visit: Any) -> None:
    page = visit("/?q=church+bell")
    page.locator(".row").first.get_by_role("button", name="Play").click()
    volume = page.get_by_role("slider", name="Volume")
    volume.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowLeft")
    assert float(volume.input_value()) == pytest.approx(0.98)
    assert volume.evaluate("(node) => node === document.activeElement")
