"""The page: self-contained, safe with any title, the same for the same input; and its pictures."""

import re
import subprocess
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from shutil import which

import matplotlib.image
import numpy as np
import pytest

import cofactor as cf
from cofactor import report
from cofactor.demo import Demo, run_demo
from cofactor.errors import BadParameter
from cofactor.figures import items
from cofactor.report import demo_page
from tests.conftest import make_ratings, missing

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</svg></style><h1>mine</h1>",
    "$\\frac{1}{$ & $x^2$ ${title} $heading",
    "-->]]><!--",
    "Ends: \x1b[31mred\x00\nand a new line",
    "七人の侍 \u202eright to left",
    'id="figure_1" href="#x" url(#y) #010201 font: 12px serif',
    "",
    "' onmouseover='alert(1)",
    "()" * 5000,
]


class Hostile:
    def title(self, item: object) -> str | None:
        number = int(str(item)[1:])
        return HOSTILE[number % len(HOSTILE)] if number % 12 else None

    def genres(self, item: object) -> tuple[str, ...]:
        return (HOSTILE[int(str(item)[1:]) % 7], "Drama")


class Reader(HTMLParser):
    """Collects the elements of a page, and checks that they are nested."""

    VOID = ("meta", "br", "img", "link", "input")

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def make_demo(catalog: object, user: str | None = None) -> Demo:
    settings = {"rank": 4, "reg": 0.5, "sweeps": 5}
    return run_demo(user, ratings=make_ratings(), catalog=catalog, settings=settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def page() -> str:
    return report.render_demo(make_demo(Hostile()))


def read_page(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def read(page: str) -> Reader:
    return read_page(page)


@pytest.fixture(scope="module")
def other_pages() -> dict[str, str]:
    """Those of tune and compare, with settings and names that mean harm."""
    ratings = make_ratings()
    tuning = cf.tune(cf.ALS(), ratings, rank=[1, 2, 4], reg=[0.5, 1.0, 40.0], biases=["joint", None])
    models = {name or "nameless": cf.Baseline() for name in HOSTILE} | {
        "Popular": cf.Popular(),
        "ALS": cf.ALS(rank=2),
    }
    comparison = cf.compare(ratings, models, bootstrap=20)
    return {"tuning": report.render_tuning(tuning), "comparison": report.render_comparison(comparison)}


@pytest.mark.parametrize("which", ["tuning", "comparison"])
def test_the_other_pages_are_as_sound(other_pages: dict[str, str], which: str) -> None:
    page = other_pages[which]
    test_the_page_loads_nothing(page, read_page(page))
    test_every_colour_follows_the_page(page)
    assert "<h1>mine" not in page
    ids = [attributes["id"] for _, attributes in read_page(page).elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for picture in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        assert ET.fromstring(picture).attrib["aria-label"]


def test_a_tuning_of_one_setting_and_of_words_make_pages() -> None:
    ratings = make_ratings()
    for values in ({"rank": [2]}, {"biases": ["joint", "sequential"]}, {"reg": [0.5, 1.0]}):
        assert "<svg" in report.render_tuning(cf.tune(cf.ALS(rank=2), ratings, folds=2, **values))
    assert "<svg" in report.render_comparison(cf.compare(ratings, {"Popular": cf.Popular()}, bootstrap=0))


def test_the_page_loads_nothing(page: str, read: Reader) -> None:
    policy = [a["content"] for _, a in read.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'"]
    for tag, attributes in read.elements:
        assert tag not in ("script", "img", "link", "iframe", "object", "embed", "base", "form", "image"), tag
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("href", "xlink:href", "src", "srcset", "action"):
                assert value is not None
                assert value.startswith("#"), (tag, name, value)
    style = "".join(re.findall(r"<style>(.*?)</style>", page, re.DOTALL))
    assert "@import" not in style
    assert "url(" not in style
    assert "http:" not in page
    assert "https:" not in page


def test_titles_are_shown_as_they_are_and_nothing_more(page: str, read: Reader) -> None:
    text = "".join(read.text)
    listed = {item for item, _ in make_demo(Hostile()).recommendations}
    titles = {Hostile().title(item) for item in listed}
    assert titles & {HOSTILE[0], HOSTILE[1], HOSTILE[9]}
    for title in titles - {None, ""}:
        assert demo_page.natural_title(demo_page.printable(title).strip()[:200]) in text
    assert "<h1>mine" not in page
    assert "\x1b" not in page
    assert [tag for tag, _ in read.elements].count("h1") == 1
    assert "MovieLens" not in page  # these are not its ratings


def test_pictures_are_sound_and_apart(page: str, read: Reader) -> None:
    pictures = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(pictures) == 8  # the map and the reasons stand there twice, for a screen and for a phone
    for picture in pictures:
        root = ET.fromstring(picture)
        assert root.attrib["role"] == "img"
        assert root.attrib["aria-label"]
        own = {element.attrib["id"] for element in root.iter() if "id" in element.attrib}
        for element in root.iter():
            for value in element.attrib.values():
                for target in re.findall(r"(?:url\(#|^#)([^)]+)", value) if "var(" not in value else []:
                    assert target in own
    ids = [attributes["id"] for _, attributes in read.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_every_colour_follows_the_page(page: str) -> None:
    styles = re.findall(r'style="([^"]*)"', page)
    assert not any(re.search(r"#0102\d\d", style) for style in styles)
    used = set(re.findall(r"var\(--([\w-]+)\)", page))
    light, dark = (
        set(re.findall(r"--([\w-]+):", part)) for part in page.split("prefers-color-scheme: dark")[:2]
    )
    assert used <= light
    assert light - {"sans"} <= dark


def test_the_same_input_gives_the_same_page(page: str) -> None:
    assert report.render_demo(make_demo(Hostile())) == page


def test_a_page_is_written_whole_or_not_at_all(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    demo, target = make_demo(Hostile(), "103"), tmp_path / "page.html"
    report.write_page(report.render_demo(demo), target)
    assert target.read_text("utf-8").startswith("<!doctype html>")
    before = target.read_bytes()

    def fail(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(KeyboardInterrupt):
        report.write_page(report.render_demo(demo), target)
    assert target.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    with pytest.raises(BadParameter, match="is a folder"):
        report.write_page(report.render_demo(demo), tmp_path)


def test_few_ratings_make_a_page() -> None:
    ratings = make_ratings(users=4, items=3, density=0.9)
    small = run_demo(ratings=ratings, catalog=Hostile(), settings={"rank": 1, "sweeps": 1})  # type: ignore[arg-type]
    assert "<svg" in report.render_demo(small)


@pytest.mark.parametrize(
    ("title", "most", "short"),
    [
        ("Godfather, The", 30, "The Godfather"),
        ("Seven (a.k.a. Se7en) (1995)", 30, "Seven"),
        ("(500) Days of Summer", 30, "(500) Days of Summer"),
        ("Star Wars: Episode V - The Empire Strikes Back", 30, "The Empire Strikes Back"),
        ("Dr. Strangelove or: How I Learned to Stop", 12, "How I Learn…"),
        ("2001: A Space Odyssey", 30, "2001: A Space Odyssey"),
        ("", 30, ""),
    ],
)
def test_short_titles(title: str, most: int, short: str) -> None:
    assert demo_page.short_title(demo_page.natural_title(title), most) == short


def test_principal_directions_of_a_planted_plane() -> None:
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(200, 2)) * [5, 2]
    turned = plane @ np.linalg.qr(rng.normal(size=(6, 6)))[0][:2] + 3
    places, shares = demo_page.principal_directions(turned.astype(np.float32))
    centred = plane - plane.mean(axis=0)
    np.testing.assert_allclose(np.linalg.norm(places, axis=1), np.linalg.norm(centred, axis=1), rtol=1e-4)
    assert shares.sum() == pytest.approx(1, abs=1e-4)
    assert shares[0] > shares[1]
    np.testing.assert_array_equal(
        demo_page.principal_directions(turned)[0], demo_page.principal_directions(turned)[0]
    )
    assert (places[np.abs(places).argmax(axis=0), [0, 1]] > 0).all()


def test_labels_of_the_map_do_not_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    labels = [f"A title of number {k}" for k in range(120)]
    boxes = []
    finish = items._label

    def measured(axes, *rest) -> None:
        finish(axes, *rest)
        boxes.extend(text.get_window_extent() for text in axes.texts)

    monkeypatch.setattr(items, "_label", measured)
    svg = items.item_map(
        rng.normal(size=(120, 2)), np.arange(120, 0, -1), np.zeros(120, int), labels, "m", (800, 500), 12, 40
    )
    assert len(boxes) >= 25
    for k, box in enumerate(boxes):
        assert box.x0 >= 0
        assert box.x1 <= 800
        assert not any(box.overlaps(other) for other in boxes[:k])
    assert svg.count("A title of number") == len(boxes)
    assert "A title of number 0" in svg  # the best known first


@pytest.mark.parametrize("width", [1200, 390])
def test_a_browser_draws_the_page(page: str, tmp_path, width: int) -> None:
    """Hostile titles and all: something of every stripe of it is drawn, and nothing sticks out at the right."""
    browser = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := which(name))), None
    )
    if browser is None:
        missing("Chromium")
    (tmp_path / "page.html").write_text(page, "utf-8")
    quiet = "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking hide-scrollbars"
    command = [browser, *(f"--{flag}" for flag in quiet.split()), f"--user-data-dir={tmp_path / 'profile'}"]
    # A headless window may not be as narrow as a phone; a frame can be.
    frame = f'<body style="margin:0"><iframe src="page.html" width="{width}" height="5000" style="border:0">'
    (tmp_path / "frame.html").write_text(frame + "</iframe></body>", "utf-8")
    command += [f"--screenshot={tmp_path / 'page.png'}", "--window-size=1200,5000"]
    done = subprocess.run([*command, (tmp_path / "frame.html").as_uri()], capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    picture = matplotlib.image.imread(tmp_path / "page.png")[:, :, :3]
    assert picture.shape[1] >= width
    drawn = picture[:2500]  # the page is longer than this at any width
    for stripe in np.array_split(drawn, 10):
        assert len(np.unique(stripe.reshape(-1, 3), axis=0)) > 20
    edge = drawn[:, width - 8 : width].reshape(-1, 3)
    assert len(np.unique(edge, axis=0)) == 1
