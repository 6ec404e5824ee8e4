"""The map of the library: wandering by mouse and by keys, and fifty thousand points on it."""

import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.browser
MANY = 50_000


def many_points() -> dict[str, list[Any]]:
    """A made-up library of forty clouds."""
    chance = np.random.default_rng(0)
    cloud = chance.integers(0, 40, MANY)
    middles = chance.normal(size=(40, 2))
    places = middles[cloud] + 0.15 * chance.normal(size=(MANY, 2))
    return {
        "ids": [f"{i:016x}" for i in range(MANY)],
        "x": places[:, 0].round(4).tolist(),
        "y": places[:, 1].round(4).tolist(),
        "names": [f"cloud {c}/sound {i}.wav" for i, c in enumerate(cloud)],
    }


@pytest.mark.parametrize("dark", [False, True])
def test_keys_wander_and_enter_plays(visit: Callable[..., Any], dark: bool) -> None:
    page = visit(dark=dark)
    page.locator(".row").first.wait_for()
    page.keyboard.press("m")
    page.get_by_text("alike ones lie together").wait_for()
    page.get_by_role("application").focus()
    seen = set()
    for key in ("ArrowLeft", "ArrowLeft", "ArrowUp", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
        seen.add(page.locator(".card .name").inner_text())
    assert len(seen) > 2
    page.keyboard.press("Enter")
    name = page.locator(".card .name").inner_text()
    page.locator("#player .name", has_text=name).wait_for()
    page.get_by_role("button", name="Pause", exact=True).wait_for()
    page.keyboard.press("+")
    page.get_by_role("button", name=f"Details of {name}").click()
    page.get_by_role("heading", name="About it").wait_for()


def test_a_press_on_a_point_plays_it_and_starts_a_search_from_there(visit: Any) -> None:
    page = visit("/?view=map")
    page.get_by_text("alike ones lie together").wait_for()
    map_ = page.get_by_role("application")
    box = map_.bounding_box()
    card = page.locator(".card .name")
    for step in range(400):
        x = 40 + (step * 37) % (box["width"] - 80)
        y = 60 + (step * 23) % (box["height"] - 120)
        map_.hover(position={"x": x, "y": y})
        if "over" in (map_.get_attribute("class") or ""):
            map_.click(position={"x": x, "y": y})
            break
    card.wait_for()
    name = card.inner_text()
    page.locator("#player .name", has_text=name).wait_for()
    page.get_by_role("button", name=f"More like {name}").click()
    page.get_by_label("Also in this search").get_by_text(name).wait_for()
    page.get_by_text("best first").wait_for()
    assert "view=map" in page.url and "like=" in page.url


def test_fifty_thousand_points_stay_smooth(visit: Any, record_property: Any) -> None:
    """Prints the time of a frame while the map is dragged and zoomed; no bound: machines differ."""
    page = visit()
    page.route("**/v1/map", lambda route: route.fulfill(json=many_points()))
    page.get_by_role("button", name="Map", exact=True).click()
    page.get_by_text("50,000 sounds").wait_for()
    frames = page.evaluate(
        """async () => {
            const map = document.querySelector(".labels");
            const send = (kind, x, y, more = {}) => map.dispatchEvent(new PointerEvent(kind,
                { clientX: x, clientY: y, pointerId: 1, button: 0, bubbles: true, ...more }));
            const box = map.getBoundingClientRect();
            const [x, y] = [box.left + box.width / 2, box.top + box.height / 2];
            map.setPointerCapture = () => {};
            send("pointerdown", x, y);
            const times = [];
            let last = await new Promise(requestAnimationFrame);
            for (let step = 0; step < 60; step += 1) {
                if (step === 30) send("pointerup", x, y);
                if (step < 30) send("pointermove", x + 4 * step, y + 2 * step);
                else map.dispatchEvent(new WheelEvent("wheel",
                    { deltaY: -40, clientX: x, clientY: y, bubbles: true, cancelable: true }));
                const now = await new Promise(requestAnimationFrame);
                times.push(now - last);
                last = now;
            }
            return times;
        }"""
    )
    record_property("median_frame_ms", statistics.median(frames))
    print(
        f"\n{MANY:,} points: {statistics.median(frames):.1f} ms a frame (median), "
        f"{max(frames):.1f} ms the longest, of {len(frames)}"
    )
    assert len(frames) == 60


def test_the_grid_finds_what_a_look_at_every_point_finds(visit: Any) -> None:
    page = visit()
    wrong = page.evaluate(
        """(answer) => import("/page/map_points.js").then(({ Points }) => {
            const points = new Points(answer);
            let wrong = 0;
            for (let i = 0; i < 200; i += 1) {
                const [x, y] = [Math.sin(i * 7.1), Math.cos(i * 3.3)];
                const [rx, ry] = [0.03 + i / 2000, 0.02];
                let [best, least] = [-1, 1];
                for (let at = 0; at < points.length; at += 1) {
                    const far = ((points.x[at] - x) / rx) ** 2 + ((points.y[at] - y) / ry) ** 2;
                    if (far <= least) [best, least] = [at, far];
                }
                const found = points.nearest(x, y, rx, ry);
                if (found !== best) wrong += 1;
            }
            return wrong;
        })""",
        many_points(),
    )
    assert wrong == 0
