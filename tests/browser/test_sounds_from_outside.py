"""Sounds dropped, chosen or recorded: tagged along time, or searched with."""

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser
DROP = """([name, bytes, half]) => {
    const data = new DataTransfer();
    data.items.add(new File([new Uint8Array(bytes)], name));
    const send = (kind, node) => node.dispatchEvent(
        new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }));
    send("dragenter", document.body);
    const node = document.querySelector(`[data-drop=${half}]`);
    if (!node.checkVisibility()) throw new Error("there is nowhere to drop it");
    send("dragover", node);
    send("drop", node);
}"""


def drop(page: Any, name: str, content: bytes, half: str) -> None:
    page.evaluate(DROP, [name, list(content), half])


@pytest.mark.parametrize("dark", [False, True])
def test_a_dropped_sound_is_tagged_along_time(visit: Any, library: Path, dark: bool) -> None:
    page = visit("/?view=tags", dark=dark)
    content = (library / "field" / "morning walk.wav").read_bytes()
    drop(page, "walk.wav", content, "tags")
    page.get_by_role("heading", name="walk.wav").wait_for()
    assert page.get_by_role("list", name="Tags").get_by_role("listitem").count() == 10
    times = page.get_by_role("region", name="Tags along time").get_by_role("columnheader")
    assert times.all_inner_texts()[:3] == ["from", "0:00", "0:02"]
    assert times.count() == 1 + 25
    times.get_by_role("button", name="0:20").click()
    page.get_by_role("button", name="Pause", exact=True).wait_for()
    page.wait_for_timeout(300)
    slider = page.get_by_role("slider", name="Position")
    assert 20 <= float(slider.get_attribute("aria-valuenow")) < 30
    page.get_by_role("button", name="Find sounds like it").click()
    page.get_by_text("best first").wait_for()
    page.get_by_label("Also in this search").get_by_text("walk.wav").wait_for()
    assert "morning walk.wav" in page.locator(".row .name").all_inner_texts()[:2]


@pytest.mark.parametrize("dark", [False, True])
def test_a_dropped_sound_is_described_in_a_sentence(visit: Any, library: Path, dark: bool) -> None:
    page = visit("/?view=tags", dark=dark)
    content = next((library / "rooster").iterdir()).read_bytes()
    drop(page, "mine.wav", content, "tags")
    caption = page.locator(".caption")
    caption.wait_for()
    file = {"name": "mine.wav", "mimeType": "audio/wav", "buffer": content}
    address = page.evaluate("() => new URL('/v1/captions', location.href).href")
    answer = page.request.post(address, multipart={"file": file})
    assert caption.inner_text() == answer.json()["caption"]
    assert caption.inner_text() in ("a cock-doodle-doo", "a cock-a-doodle-doo", "a rooster crowing")


def test_own_labels_take_the_place_of_the_built_in_ones(visit: Any, library: Path) -> None:
    page = visit("/?view=tags")
    page.get_by_label("Labels, between semicolons").fill("a church bell; a dog, barking")
    drop(page, "b.wav", next((library / "church_bell").iterdir()).read_bytes(), "tags")
    tags = page.get_by_role("list", name="Tags").get_by_role("button")
    tags.first.wait_for()
    assert tags.all_inner_texts() == ["a church bell", "a dog, barking"]


def test_a_sound_dropped_on_the_other_half_is_searched_with(visit: Any, library: Path) -> None:
    page = visit()
    page.locator(".row").first.wait_for()
    drop(page, "mine.wav", next((library / "rooster").iterdir()).read_bytes(), "search")
    page.get_by_label("Also in this search").get_by_text("mine.wav").wait_for()
    page.get_by_text("best first").wait_for()
    assert page.locator(".row .name").first.inner_text() == "rooster-0.wav"
    page.get_by_role("button", name="Without like the sound mine.wav").click()
    page.get_by_text("by name").wait_for()


def test_back_undoes_a_search_with_a_sound_and_forward_searches_with_it_again(
    visit: Any, until: Any, library: Path
) -> None:
    page = visit("/?q=rain")
    page.locator(".row").first.wait_for()
    names = page.locator(".row .name").all_inner_texts()
    assert "rooster-0.wav" not in names[:1]
    drop(page, "mine.wav", next((library / "rooster").iterdir()).read_bytes(), "search")
    chip = page.get_by_label("Also in this search").get_by_text("mine.wav")
    chip.wait_for()
    page.go_back()
    chip.wait_for(state="detached")
    until(page, lambda: page.locator(".row .name").all_inner_texts() == names)
    page.go_forward()
    chip.wait_for()
    until(page, lambda: page.locator(".row .name").first.inner_text() == "rooster-0.wav")


def test_what_is_no_sound_is_refused_in_the_servers_words(visit: Any) -> None:
    page = visit()
    page.locator(".row").first.wait_for()
    drop(page, "letter.txt", b"dear sir or madam" * 40, "search")
    alert = page.get_by_role("alert")
    alert.get_by_text("Nothing in it can be decoded as sound").wait_for()
    page.get_by_role("button", name="Close this message").click()
    assert not alert.is_visible()


def test_a_recording_is_searched_with(visit: Any) -> None:
    page = visit(permissions=["microphone"])
    page.get_by_role("button", name="Record a sound").click()
    stop = page.get_by_role("button", name="Stop recording and search")
    stop.wait_for()
    page.wait_for_timeout(1500)
    stop.click()
    page.get_by_label("Also in this search").get_by_text("recording.webm").wait_for()
    page.get_by_text("best first").wait_for()


def test_a_chosen_file_is_searched_with(visit: Any, library: Path) -> None:
    page = visit()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Search with a sound file").click()
    chooser.value.set_files(next((library / "gong").iterdir()))
    page.get_by_text("best first").wait_for()
    assert page.locator(".row .name").first.inner_text() == "gong-0.wav"
