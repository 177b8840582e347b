import html
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from loopback import loopback_only
from PIL import Image

import page
import report
from utils import History, UserError

HOSTILE = "<script>alert(1)</script>.png"

# Image -> CC, KLD; by CC the worst first.
VALUES = {
    "2.jpg": (0.2, 0.9),
    "banner.png": (0.5, 1.6),
    HOSTILE: (0.6, 0.4),
    "10.jpg": (0.8, 0.5),
    "unmeasured.png": (float("nan"), None),
}
WORST_FIRST = list(VALUES)

SUMMARY = {
    "dataset": "fixationadd1000",
    "images": 5,
    "metrics": {
        "model": {
            "CC": {"mean": 0.525, "low": 0.3, "high": 0.7},
            "KLD": {"mean": 0.85, "low": 0.5, "high": 1.2},
        },
        "centre bias": {"CC": {"mean": 0.31, "low": 0.2, "high": 0.4}},
        "human ceiling": {"CC": {"mean": 0.91, "low": 0.9, "high": 0.93}},
    },
    "left_out": {
        "NSS": "there are <no> fixation points",
        "CC on 1 image": "the human map is constant",
    },
    "weights": {"file": "weights/model_<b>.weights.h5", "sha256": "12ab"},
    "data": {"pairs": 1000, "archives": [{"name": "fixation_add1000.tar.gz"}]},
    "input_size": [360, 360],
    "date": "2026-03-01T12:00:00+00:00",
    "versions": {"keras": "3.12.0"},
}

REGIONS = [
    {
        "image": "banner.png",
        "name": name,
        "x": 12,
        "y": 9,
        "w": 24,
        "h": 18,
        "attention": attention,
        "area": 0.25,
        "ratio": attention / 0.25,
        "rank": rank,
    }
    for name, attention, rank in (("Price", 0.1, 2), ("<b>Logo</b>", 0.6, 1))
]


def make_item(folder: Path, name: str, seed: int, size=(36, 48)) -> page.Item:
    """Return an image of the gallery with noise for pictures, which compresses badly."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    paths = [folder / f"{seed}_{kind}.png" for kind in ("stimulus", "human", "prediction")]
    for path, shape in zip(paths, ((*size, 3), size, size), strict=True):
        Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8)).save(path)
    return page.Item(name, *paths)


def make_items(folder: Path) -> list[page.Item]:
    return [make_item(folder, name, seed) for seed, name in enumerate(VALUES)]


def make_rows() -> list[dict]:
    return [{"image": name, "CC": cc, "KLD": kld} for name, (cc, kld) in VALUES.items()]


def write(folder: Path, **changes) -> str:
    """Write a page of the five images, in another order than it shows them; return its text."""
    arguments = {"summary": SUMMARY, "rows": make_rows()[::-1], **changes}
    if "gallery" not in changes:
        arguments["gallery"] = make_items(folder)[::-1]
    path = folder / "index.html"
    page.write_page(path, **arguments)
    return path.read_text(encoding="utf-8")


def names_in(text: str) -> list[str]:
    return [html.unescape(name) for name in re.findall(r'data-name="([^"]*)"', text)]


def test_images_come_worst_first_and_unmeasured_ones_last(tmp_path):
    assert names_in(write(tmp_path)) == WORST_FIRST


def test_without_cc_images_are_ordered_by_what_was_measured(tmp_path):
    rows = [{"KLD": kld} for _, kld in VALUES.values()][::-1]
    by_kld = ["banner.png", "2.jpg", "10.jpg", HOSTILE, "unmeasured.png"]
    assert names_in(write(tmp_path, rows=rows)) == by_kld


def test_names_are_only_text(tmp_path):
    text = write(tmp_path, regions=REGIONS, title="<i>Ours</i>")
    for tag in ("<script>alert", "<b>", "<no>", "<i>"):
        assert tag not in text
    for words in (HOSTILE, "<b>Logo</b>", "<no>", "model_<b>", "<i>Ours</i>"):
        assert html.escape(words) in text


def test_a_page_refers_to_nothing_outside_of_itself(tmp_path):
    text = write(tmp_path, history=History([2, 1], [2, 1.5]), regions=REGIONS)
    targets = re.findall(r"""\b(?:src|href)\s*=\s*["']?([^"'\s>]*)""", text)
    targets += re.findall(r"url\(([^)]*)\)", text)
    assert targets
    assert all(target.startswith(("data:", "#")) for target in targets)
    assert "@import" not in text


def test_no_image_has_a_value_that_json_does_not_know(tmp_path):
    values = re.findall(r"data-values='([^']*)'", write(tmp_path))
    assert json.loads(values[-1], parse_constant=pytest.fail) == {"CC": None, "KLD": None}


def test_a_measure_that_was_left_out_says_why_and_cannot_be_sorted_by(tmp_path):
    text = write(tmp_path)
    assert "Left out: there are &lt;no&gt; fixation points" in text
    assert "Left out: CC on 1 image; the human map is constant." in text
    assert re.findall(r'<option value="(\w+)"', text)[:2] == ["CC", "KLD"]
    assert "<strong>NSS</strong>" in text
    assert "<strong>AUC</strong>" not in text


def test_a_value_that_only_the_model_has_leaves_the_others_empty(tmp_path):
    line = re.search(r"<strong>KLD</strong>.*?</tr>", write(tmp_path), re.DOTALL).group()
    means = re.findall(r'class="mean">([^<]*)<', line)
    assert means == ["0.850", "\N{EN DASH}", "\N{EN DASH}"]
    assert "lower is better" in line


def test_the_training_curve_is_there_when_there_was_a_training(tmp_path):
    assert 'id="training"' not in write(tmp_path)
    text = write(tmp_path, history=History([2, 1], [2, 1.5]))
    assert 'id="training"' in text
    assert "the lowest held-out loss is 1.5000" in text


def test_images_without_human_maps_make_a_page_without_a_summary(tmp_path):
    items = [
        page.Item(item.name, item.stimulus, None, item.prediction) for item in make_items(tmp_path)
    ]
    summary = {"dataset": "fixationadd1000", "metrics": {}}
    text = write(tmp_path, summary=summary, rows=[{}] * 5, gallery=items, regions=REGIONS)
    assert names_in(text)[0] == "banner.png"  # it has regions
    assert 'id="summary"' not in text
    assert text.count("<img ") == 15
    assert "Human map" not in text


def test_regions_are_drawn_in_percent_and_listed_by_rank(tmp_path):
    text = write(tmp_path, regions=REGIONS)
    assert "left: 25.0%; top: 25.0%; width: 50.0%; height: 50.0%" in text
    assert re.findall(r'<th scope="row">([^<]*)<', text) == ["&lt;b&gt;Logo&lt;/b&gt;", "Price"]
    assert "<td>60.0%</td><td>25.0%</td><td>2.40</td>" in text


def many(folder: Path, count: int, size: tuple[int, int]) -> dict:
    items = [make_item(folder, f"{index}.jpg", index, size) for index in range(count)]
    return {"gallery": items, "rows": [{"CC": index / count} for index in range(count)]}


def test_200_images_are_all_shown_in_at_most_12_mb(tmp_path):
    text = write(tmp_path, **many(tmp_path, 200, (60, 80)))
    assert len(names_in(text)) == 200
    assert len(text.encode()) <= 12_000_000


def test_images_that_would_fill_the_page_are_stored_smaller(tmp_path, monkeypatch):
    images = many(tmp_path, 4, (300, 400))
    whole = len(write(tmp_path, **images).encode())
    monkeypatch.setattr(page, "MOST_BYTES", whole * 2 // 3)
    text = write(tmp_path, **images)
    assert len(names_in(text)) == 4
    assert len(text.encode()) <= page.MOST_BYTES


def test_of_more_images_than_fit_the_worst_and_the_best_are_shown(tmp_path, monkeypatch):
    images = many(tmp_path, 30, (60, 80))
    part = len(write(tmp_path, **images).encode()) // 2
    monkeypatch.setattr(page, "MOST_BYTES", part)
    text = write(tmp_path, **images)
    count = len(names_in(text))
    worst, best = count - count // 2, count // 2
    expected = [f"{index}.jpg" for index in (*range(worst), *range(30 - best, 30))]
    assert len(text.encode()) <= part
    assert 4 < count < 30
    assert names_in(text) == expected
    assert f"{count} of 30 images are here: the {worst} worst and the {best} best by CC" in text


def test_a_picture_that_cannot_be_read_leaves_the_former_page(tmp_path):
    former = write(tmp_path)
    items = make_items(tmp_path)
    items[0].stimulus.write_bytes(b"no picture")
    with pytest.raises(UserError, match=items[0].stimulus.name):
        page.write_page(tmp_path / "index.html", SUMMARY, make_rows(), items)
    assert (tmp_path / "index.html").read_text(encoding="utf-8") == former
    assert not list(tmp_path.glob(".*"))


def test_charts_use_the_colours_of_the_page():
    for svg in (
        report.svg_histogram([0.1, 0.4, 0.4], {"model": 0.3, "human": 0.9}),
        report.svg_history(History([2, 1], [2, 1.5])),
    ):
        colours = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", svg))
        assert {"var(--model)", "var(--line)"} <= colours
        assert not re.search(r"#[0-9a-f]{6}", " ".join(colours))


# In a browser ----------------------------------------------------------------------------------


@pytest.fixture
def no_network(monkeypatch):
    # The browser is driven over 127.0.0.1.
    loopback_only(monkeypatch)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("Chromium or its driver is not installed (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1400,1000",
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("page")
    write(folder, history=History([2, 1], [2, 1.5]), regions=REGIONS)
    return (folder / "index.html").as_uri()


class Visit:
    """The page as its reader uses it."""

    def __init__(self, browser):
        self.browser = browser

    def find(self, selector: str):
        return self.browser.find_element("css selector", selector)

    def find_all(self, selector: str) -> list:
        return self.browser.find_elements("css selector", selector)

    def run(self, script: str, *arguments):
        return self.browser.execute_script(script, *arguments)

    def press(self, *keys: str) -> None:
        from selenium.webdriver import ActionChains

        ActionChains(self.browser).send_keys(*keys).perform()

    def choose(self, label: str, option: str) -> None:
        from selenium.webdriver.support.ui import Select

        menu = self.browser.find_element("xpath", f"//label[contains(., '{label}')]/select")
        Select(menu).select_by_visible_text(option)

    @property
    def names(self) -> list[str]:
        return [title.text for title in self.find_all(".card h3") if title.is_displayed()]

    @property
    def enlarged(self) -> str | None:
        """The name of the image in the dialog, if that is open."""
        dialog = self.find("dialog")
        return dialog.find_element("css selector", "h2").text if dialog.is_displayed() else None

    def has_focus(self, text: str) -> bool:
        """Whether the element of this text gets the focus within a moment."""
        from selenium.common.exceptions import TimeoutException
        from selenium.webdriver.support.ui import WebDriverWait

        try:
            return WebDriverWait(self.browser, 10, 0.02).until(
                lambda browser: browser.switch_to.active_element.text == text
            )
        except TimeoutException:
            return False


@pytest.fixture
def visit(browser, address) -> Visit:
    browser.get(address)
    return Visit(browser)


def test_a_browser_shows_the_worst_first(visit):
    assert visit.names == WORST_FIRST
    assert visit.find("#count").text == "5 images"


def test_a_browser_sorts_by_measure_in_both_directions(visit):
    visit.choose("Sort by", "KLD")
    assert visit.names == ["banner.png", "2.jpg", "10.jpg", HOSTILE, "unmeasured.png"]
    visit.choose("Order", "Best first")
    assert visit.names == [HOSTILE, "10.jpg", "2.jpg", "banner.png", "unmeasured.png"]


def test_a_browser_sorts_by_name_with_numbers_by_value(visit):
    visit.choose("Sort by", "Name")
    ordered = visit.names
    assert ordered.index("2.jpg") < ordered.index("10.jpg") < ordered.index("banner.png")
    visit.choose("Order", "Z to A")
    assert visit.names == ordered[::-1]


def test_a_browser_searches_by_name(visit):
    visit.find("input").send_keys("BAN")
    assert visit.names == ["banner.png"]
    assert visit.find("#count").text == "1 of 5 images"
    visit.find("input").send_keys("?")
    assert visit.names == []
    assert visit.find("#nothing").is_displayed()


def test_a_click_on_a_picture_enlarges_it_and_escape_brings_back(visit):
    from selenium.webdriver.common.keys import Keys

    small = visit.find(".card img")
    width = small.size["width"]
    visit.run("arguments[0].scrollIntoView({block: 'center'})", small)
    small.click()
    assert visit.enlarged == WORST_FIRST[0]
    pictures = visit.find_all("dialog img")
    assert len(pictures) == 4
    assert pictures[0].size["width"] > width
    assert all(visit.run("return arguments[0].naturalWidth", picture) for picture in pictures)
    assert "CC" in visit.find("dialog .values").text
    visit.press(Keys.ESCAPE)
    assert visit.enlarged is None
    assert visit.has_focus(WORST_FIRST[0])


@pytest.mark.parametrize("key", ["ENTER", "SPACE"])
def test_the_keyboard_alone_enlarges_and_goes_on(visit, key):
    from selenium.webdriver.common.keys import Keys

    visit.run("document.getElementById('order').focus()")
    visit.press(Keys.TAB)
    assert visit.has_focus(WORST_FIRST[0])
    visit.press(getattr(Keys, key))
    assert visit.enlarged == WORST_FIRST[0]
    visit.press(Keys.ARROW_RIGHT)
    assert visit.enlarged == WORST_FIRST[1]
    visit.press(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert visit.enlarged == WORST_FIRST[-1]
    visit.press(Keys.ESCAPE)
    assert visit.enlarged is None
    assert visit.has_focus(WORST_FIRST[-1])


def test_the_arrow_keys_follow_order_and_search(visit):
    from selenium.webdriver.common.keys import Keys

    visit.choose("Sort by", "KLD")
    visit.find("input").send_keys(".jpg")
    visit.run("document.querySelector('.card:not([hidden]) .open').focus()")
    visit.press(Keys.ENTER)
    assert visit.enlarged == "2.jpg"
    visit.press(Keys.ARROW_RIGHT)
    assert visit.enlarged == "10.jpg"
    visit.press(Keys.ARROW_RIGHT)
    assert visit.enlarged == "2.jpg"


def test_regions_stand_on_the_overlay_with_their_names(visit):
    labels = [region.text.split() for region in visit.find_all(".card .region")]
    assert labels == [["1", "<b>Logo</b>"], ["2", "Price"]]
    box = visit.find(".card .region")
    picture = box.find_element("xpath", "..")
    assert box.size["width"] == pytest.approx(picture.size["width"] / 2, abs=1.5)


def test_a_browser_has_nothing_to_complain_of_and_asks_for_nothing(browser, address):
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(address)
    assert Visit(browser).names[2] == HOSTILE
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]
    assert address in asked
    assert all(url.startswith(("file:", "data:")) for url in asked)


def test_a_phone_shows_the_page_without_scrolling_sideways(visit):
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    visit.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        assert visit.run("return document.documentElement.scrollWidth") == 390
    finally:
        visit.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_dark_mode_is_dark(visit):
    def brightness(scheme: str) -> int:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        visit.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        colour = visit.run("return getComputedStyle(document.body).backgroundColor")
        return sum(map(int, re.findall(r"\d+", colour)[:3]))

    assert brightness("dark") < 150 < 600 < brightness("light")
