"""The page in a real browser: what a person does, by mouse and by keyboard, and what must not be on it."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from cofactor.serve.settings import Settings
from tests.conftest import missing
from tests.serve.conftest import Running, fill, running, until

VIEWS = ("films", "map", "quality", "operations")
HOSTILE = "<img src=x onerror=alert(1)>\"'&amp;<script>alert(2)</script>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        missing("chromium")
    arguments = ["--no-sandbox", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=arguments)
        yield found
        found.close()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The bundled ratings, served."""
    with running(tmp_path_factory.mktemp("demo"), "--demo", "--no-open") as found:
        yield found


@pytest.fixture
def small(tmp_path: Path, saved: Path) -> Iterator[Running]:
    """Forty films, one of which has a hostile title."""
    fill(Settings(folder=str(tmp_path)), saved)
    with running(tmp_path) as found:
        httpx.put(found.url + "/v1/items/i003", json={"title": HOSTILE, "categories": [HOSTILE]})
        yield found


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """``visit(url, width=320)`` -> a page of a new visitor; its errors are the test's."""
    wrong: list[str] = []
    contexts = []

    def visit(url: str, width: int = 1440, **options: Any) -> Page:
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, **options))
        page = contexts[-1].new_page()
        page.set_default_timeout(20_000)
        page.on(
            "console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: wrong.append(dialog.message))
        page.on(
            "request", lambda asked: None if asked.url.startswith((url, "data:")) else wrong.append(asked.url)
        )
        page.goto(url)
        page.wait_for_selector("#found fieldset, .problem, #key-form:not([hidden])")
        return page

    visit.wrong = wrong  # type: ignore[attr-defined]
    yield visit
    for context in contexts:
        context.close()
    assert wrong == []


def rate(page: Page, place: int, label: str) -> str:
    """Give one of the films shown so many stars; returns its title."""
    film = page.locator("#found fieldset").nth(place)
    film.get_by_label(label, exact=True).check(force=True)
    return film.locator("legend").inner_text()


def listed(page: Page) -> list[str]:
    return page.locator("#list h3").all_inner_texts()


def rate_five(page: Page) -> list[str]:
    before = listed(page)
    titles = [rate(page, k, "5 stars" if k % 2 else "2 stars") for k in range(5)]
    expect(page.locator("#progress-text")).to_contain_text("5 rated")
    expect(page.locator("#told")).to_contain_text("Made from your ratings")
    until(lambda: listed(page) != before and len(listed(page)) == 10)
    return titles


def test_five_films_make_a_list_with_reasons(demo: Running, visit: Callable[..., Page]) -> None:
    page = visit(demo.url)
    expect(page.locator("#list h3")).to_have_count(10)
    expect(page.locator("#told")).to_contain_text("rated most")
    stored = httpx.get(demo.url + "/v1/operations").json()["store"]
    titles = rate_five(page)
    assert not set(titles) & set(listed(page))
    expect(page.locator("#told")).to_contain_text(" ms on the service")
    expect(page.locator("#told")).to_contain_text("four of five ratings are expected")
    for bar in page.locator("#list .spread").all():  # drawn within its track, with the prediction in it
        track, inside, mark = (part.bounding_box() for part in (bar, bar.locator("i"), bar.locator("b")))
        assert track["x"] - 1 <= inside["x"] < mark["x"] + 2
        assert mark["x"] < inside["x"] + inside["width"] <= track["x"] + track["width"] + 1
    expect(page.locator("#mine fieldset")).to_have_count(5)
    film = page.locator("#list > li").first
    film.locator("summary").click()
    rows = film.locator("tbody tr")
    assert rows.count() == 8  # mean, you, film, five ratings
    adds = [
        float(text.replace("−", "-"))
        for text in film.locator("tbody td.number:nth-child(3)").all_inner_texts()
    ]
    assert sum(adds) == pytest.approx(float(film.locator(".score").inner_text().split()[-1]), abs=0.01)
    assert set(rows.locator("td:first-child").all_inner_texts()[3:]) == set(titles)
    assert film.locator("td.bar i").count() == 7
    film.get_by_role("button", name="Films similar").click()
    expect(page.locator("#similar-title")).to_contain_text("Similar to")
    expect(page.locator("#similar-list li")).to_have_count(8)
    assert httpx.get(demo.url + "/v1/operations").json()["store"] == stored  # nothing of it was kept there
    before = listed(page)
    page.reload()
    until(lambda: listed(page) == before)  # but here it was
    page.locator("#mine fieldset").first.get_by_role("button", name="Take back").click()
    expect(page.locator("#progress-text")).to_contain_text("4 of 5")
    until(lambda: listed(page) != before)


def test_kind_and_variety_change_the_list(demo: Running, visit: Callable[..., Page]) -> None:
    page = visit(demo.url)
    rate_five(page)
    page.select_option("#category", "War")
    until(lambda: all("War" in text for text in page.locator("#list .film > p.quiet").all_inner_texts()))
    page.select_option("#category", "")
    until(lambda: not all("War" in text for text in page.locator("#list .film > p.quiet").all_inner_texts()))
    before = listed(page)
    page.locator("#diversity").fill("0.9")
    until(lambda: listed(page) != before)


def test_by_keyboard_alone(demo: Running, visit: Callable[..., Page]) -> None:
    page = visit(demo.url)
    press = page.keyboard.press
    press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    press("Enter")
    for _ in range(10):
        press("Tab")
        if page.evaluate("document.activeElement.id") == "search":
            break
    page.keyboard.type("star wars")
    expect(page.locator("#search-told")).to_contain_text("found")
    press("Tab")
    assert page.evaluate("document.activeElement.type") == "radio"
    press("Space")  # half a star
    for _ in range(8):
        press("ArrowRight")
    expect(page.locator("#mine fieldset")).to_have_count(1)
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "4.5 stars"
    until(lambda: page.evaluate("JSON.parse(localStorage.getItem('cofactor-ratings'))[0][1].rating") == 4.5)
    expect(page.locator("#told")).to_contain_text("Made from your ratings")
    seen = set()
    for _ in range(150):  # no trap: all of the page is passed
        press("Tab")
        seen.add(
            page.evaluate("document.activeElement.closest('#list, #mine, #found, footer, header')?.id ?? ''")
        )
        if page.evaluate("document.activeElement === document.body"):
            break
    assert {"found", "mine", "list"} <= seen
    page.goto(demo.url + "/#map")
    picture = page.locator("#map-view svg")
    picture.focus()
    dot = picture.locator("circle").first
    at = [dot.get_attribute("cx")]
    for key in ("ArrowRight", "+", "ArrowUp", "-", "0"):
        press(key)
        at.append(dot.get_attribute("cx") + dot.get_attribute("cy"))
    assert len(set(at)) >= 5


def test_the_map_moves_and_so_do_you(demo: Running, visit: Callable[..., Page]) -> None:
    page = visit(demo.url)
    rate_five(page)
    page.locator('nav a[href="#map"]').click()
    page.wait_for_selector("#map-view svg .you")
    dots = page.locator("#map-view circle.dot")
    assert dots.count() == 1000
    expect(page.locator("#map-view circle.rated")).to_have_count(5)
    you = page.locator("#map-view .you")
    first = you.evaluate("node => node.style.transform")
    before = dots.nth(5).get_attribute("cx")
    page.mouse.move(700, 500)
    page.mouse.wheel(0, -400)
    until(lambda: dots.nth(5).get_attribute("cx") != before)
    page.mouse.down()
    zoomed = dots.nth(5).get_attribute("cx")
    page.mouse.move(800, 560)
    page.mouse.up()
    until(lambda: dots.nth(5).get_attribute("cx") != zoomed)
    page.get_by_role("button", name="All", exact=True).click()
    until(lambda: dots.nth(5).get_attribute("cx") == before)
    assert you.evaluate("node => node.style.transform") == first
    page.locator('nav a[href="#films"]').click()
    rate(page, 7, "5 stars")
    rate(page, 8, "0.5 stars")
    page.locator('nav a[href="#map"]').click()
    until(lambda: you.evaluate("node => node.style.transform") != first)
    page.locator("#map-table summary").click()
    assert page.locator("#map-table tbody tr").count() == 100


def test_how_good_it_is(demo: Running, visit: Callable[..., Page]) -> None:
    page = visit(demo.url)
    page.locator('nav a[href="#quality"]').click()
    expect(page.locator(".chart h2")).to_have_text(
        ["How K was chosen", "How far off predictions are", "Whether it means what it says", "How it learnt"]
    )
    assert page.locator(".chart svg .mark.chosen").count() == 1
    quality = httpx.get(demo.url + "/v1/models/1/quality").json()
    assert {one["rank"] for one in quality["by_rank"]} == {1, 2, 4, 8, 16, 32, 64}
    assert quality["rmse"] < quality["baseline_rmse"] < quality["mean_rmse"]
    page.locator(".chart summary").first.click()
    assert page.locator(".chart").first.locator("tbody tr").count() == 7


@pytest.mark.parametrize("width", [320, 768, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_it(demo: Running, visit: Callable[..., Page], width: int, scheme: str) -> None:
    page = visit(demo.url, width, color_scheme=scheme, reduced_motion="reduce")
    rate_five(page)
    page.locator("#list summary").first.click()
    for view in VIEWS:
        page.locator(f'nav a[href="#{view}"]').click()
        expect(page.locator(f"#{view}")).to_be_visible()
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = Axe().run(page).response["violations"]
        serious = [
            f"{f['id']}: {f['nodes'][0]['html']}" for f in found if f["impact"] in ("serious", "critical")
        ]
        assert serious == [], view


def test_titles_of_strangers_are_text(small: Running, visit: Callable[..., Page]) -> None:
    page = visit(small.url)
    page.fill("#search", "onerror")
    expect(page.locator("#found legend")).to_have_text([HOSTILE])
    page.locator("#found fieldset input").last.check(force=True)
    expect(page.locator("#mine legend")).to_have_text([HOSTILE])
    page.locator('nav a[href="#map"]').click()
    page.locator("#map-table summary").click()
    expect(page.locator("#map-table")).to_contain_text(HOSTILE)
    assert page.evaluate("document.querySelectorAll('main img, main script').length") == 0


def test_ratings_under_a_name_are_stored(small: Running, visit: Callable[..., Page]) -> None:
    page = visit(small.url)
    film = page.locator("#found fieldset").first
    film.locator("input").last.check(force=True)
    page.get_by_text("Keep my ratings on the service").click()
    page.fill("#user", "a/b <x>")
    page.check("#bring")
    page.get_by_role("button", name="Load and store").click()
    expect(page.locator("#user-told")).to_contain_text("stored under")
    page.locator("#found fieldset").nth(1).locator("input").first.check(force=True)
    where = small.url + "/v1/users/a%2Fb%20%3Cx%3E/ratings"
    until(lambda: len(httpx.get(where).json()["ratings"]) == 2)
    other = visit(small.url)
    other.get_by_text("Keep my ratings on the service").click()
    other.fill("#user", "a/b <x>")
    other.get_by_role("button", name="Load and store").click()
    expect(other.locator("#mine fieldset")).to_have_count(2)
    other.locator("#mine").get_by_role("button", name="Take back").first.click()
    until(lambda: len(httpx.get(where).json()["ratings"]) == 1)


def test_operations(small: Running, visit: Callable[..., Page]) -> None:
    page = visit(small.url)
    httpx.put(small.url + "/v1/ratings/u/i001", json={"rating": 4})
    page.locator('nav a[href="#operations"]').click()
    page.get_by_role("button", name="Train now").click()
    expect(page.locator("#operations-view")).to_contain_text("done", timeout=60_000)
    models = page.get_by_role("region", name="Models")
    expect(models.locator("tbody tr")).to_have_count(2)
    page.get_by_role("button", name="Activate").first.click()
    expect(page.locator("#operations-view [role=status]").first).to_contain_text("answers now")
    page.get_by_role("button", name="Roll back").click()
    expect(page.locator("#operations-view [role=status]").first).to_contain_text("answers now")


def test_a_key_is_asked_for(tmp_path: Path, saved: Path, visit: Callable[..., Page]) -> None:
    from cofactor.serve.store import keys
    from cofactor.serve.store.database import Database

    settings = Settings(folder=str(tmp_path))
    fill(settings, saved)
    database = Database(settings.url)
    with database.write() as connection:
        key = keys.create(connection, "page", "read")
    database.close()
    with running(tmp_path) as found:
        page = visit(found.url)
        expect(page.locator("#key-form")).to_be_visible()
        page.fill("#key", key)
        page.get_by_role("button", name="Use it").click()
        page.wait_for_selector("#found fieldset")
        expect(page.locator("#list h3")).to_have_count(10)
        page.locator('nav a[href="#operations"]').click()
        expect(page.locator("#operations-view .problem")).to_contain_text("admin")
    refused = [text for text in visit.wrong if "401" in text or "403" in text]  # type: ignore[attr-defined]
    assert refused
    visit.wrong[:] = [text for text in visit.wrong if text not in refused]  # type: ignore[attr-defined]


def test_without_the_service_nothing_is_lost(small: Running, visit: Callable[..., Page]) -> None:
    page = visit(small.url)
    film = page.locator("#found fieldset").first
    film.locator("input").last.check(force=True)
    expect(page.locator("#told")).to_contain_text("Made from your ratings")
    small.process.send_signal(signal.SIGSTOP)
    page.context.set_offline(True)
    page.locator("#found fieldset").nth(1).locator("input").last.check(force=True)
    expect(page.locator("#list .problem")).to_contain_text("does not answer")
    assert page.evaluate("JSON.parse(localStorage.getItem('cofactor-ratings')).length") == 2
    small.process.send_signal(signal.SIGCONT)
    page.context.set_offline(False)
    page.locator("#list").get_by_role("button", name="Try again").click()
    expect(page.locator("#list h3")).to_have_count(10)
    visit.wrong[:] = [text for text in visit.wrong if "ERR_INTERNET_DISCONNECTED" not in text]  # type: ignore[attr-defined]
