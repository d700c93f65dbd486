"""The site as a reader meets it: in Chromium, from a folder, on a desk and on a telephone."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tools import browser, site

COMMAND = browser.chromium()
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (COMMAND and DRIVER),
    reason="no Chromium here; with `apt-get install chromium chromium-driver` the pages are tried",
)
FLAGS = ("--disable-dev-shm-usage", "--hide-scrollbars")
DESK, PHONE = (1280, 900), (390, 844)  # width and height in CSS pixels
MOONS = "assignment1_perceptron_mlp/02_mlp_moons.html"
PATIENCE = 30  # seconds


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The site of the committed notebooks."""
    build = tmp_path_factory.mktemp("site") / "out"
    site.build_site(build)
    return build


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    options = Options()
    options.binary_location, *flags = COMMAND
    for flag in (*flags, *FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.set_page_load_timeout(PATIENCE)
    driver.get("about:blank")  # away from Chromium's own first page and what that asks for
    yield driver
    driver.quit()


class Reader:
    """Somebody who reads pages on a screen of a given size, and sees all that goes wrong."""

    def __init__(self, driver, build: Path, screen: tuple[int, int]):
        self.driver, self.build = driver, build
        width, height = screen
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.colours("light")
        self.noticed()  # forget what others saw

    def colours(self, scheme: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def open(self, page: str) -> None:
        self.driver.get((self.build / page).as_uri())
        self.wait_for_formulas()

    def ask(self, script: str, *arguments):
        return self.driver.execute_script(f"return {script}", *arguments)

    def wait(self, script: str, *arguments):
        """Return what the script says as soon as that is true."""
        deadline = time.monotonic() + PATIENCE
        while not (answer := self.ask(script, *arguments)):
            assert time.monotonic() < deadline, f"waited for {script}"
            time.sleep(0.05)
        return answer

    def wait_for_formulas(self) -> None:
        self.wait("document.documentElement.dataset.formulas === 'ready'")

    def find(self, selector: str):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def noticed(self) -> list[str]:
        """Return what went wrong since the last call: console, requests; other hosts too."""
        wrong = [entry["message"] for entry in self.driver.get_log("browser")]
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            what, details = message["method"], message["params"]
            if what == "Network.requestWillBeSent":
                address = details["request"]["url"]
                if not address.startswith((self.build.as_uri(), "data:")):
                    wrong.append(f"asked for {address}")
            elif what == "Network.loadingFailed" and not details.get("canceled"):
                wrong.append(f"failed: {details['errorText']} {details.get('type')}")
            elif what == "Network.responseReceived" and details["response"]["status"] >= 400:
                wrong.append(f"{details['response']['status']} {details['response']['url']}")
            elif what == "Runtime.exceptionThrown":
                wrong.append(str(details))
        return wrong


@pytest.fixture(params=[DESK, PHONE], ids=["desk", "phone"])
def reader(request, chromium, built):
    return Reader(chromium, built, request.param)


def test_the_way_of_a_reader(reader):
    reader.open("index.html")
    card = reader.find(f'h3 a[href="{MOONS}"]')
    thumbnail = reader.find(f'.thumbnail[href="{MOONS}"] img')
    reader.ask("arguments[0].scrollIntoView({block: 'center'})", thumbnail)
    reader.wait("arguments[0].complete && arguments[0].naturalWidth > 100", thumbnail)
    card.click()
    reader.wait(f"location.href.endsWith('{MOONS}')")
    reader.wait_for_formulas()

    formula = reader.find(".math.block mjx-container")
    assert formula.size["width"] > 100 and formula.size["height"] > 20
    assert reader.ask("arguments[0].querySelectorAll('svg path, svg use').length", formula) > 10

    figure = reader.find("figure img")
    reader.ask("arguments[0].scrollIntoView({block: 'center'})", figure)
    reader.wait("arguments[0].complete && arguments[0].naturalWidth > 100", figure)
    assert figure.is_displayed() and "half circles" in figure.get_attribute("alt")

    field = reader.find("#search")
    field.send_keys("bayes ceiling")
    reader.wait("document.querySelectorAll('#found a').length > 0")
    assert "The best score there is" in reader.find("#found").text
    marks = reader.driver.find_elements(By.TAG_NAME, "mark")
    assert {mark.text.lower() for mark in marks} == {"bayes", "ceiling"}
    box = "document.getElementById('found').getBoundingClientRect()"
    assert reader.ask(f"{box}.left >= 0 && {box}.right <= innerWidth")
    field.send_keys(Keys.ENTER)
    reader.wait("location.hash === '#The-best-score-there-is'")
    top = "document.getElementById('The-best-score-there-is').getBoundingClientRect().top"
    reader.wait(f"{top} > 0 && {top} < 200")
    assert not reader.find("#found").is_displayed()

    reader.ask("document.querySelector('[rel=next]').click()")
    reader.wait("location.href.includes('/03_')")
    reader.wait_for_formulas()
    reader.find(".home").click()
    reader.wait("location.href.endsWith('index.html')")
    reader.wait_for_formulas()
    assert reader.noticed() == []


def test_the_search_finds_titles_headings_and_names_or_says_so(reader):
    reader.open("index.html")
    field = reader.find("#search")
    wanted = {
        "which method is fastest": "Which method is fastest?",
        "linear_backward": "Rung 2: arrays",
        "Montufar": "References",  # without its accent
        "novikoff": "Novikoff",
    }
    for words, heading in wanted.items():
        field.clear()
        field.send_keys(words)
        reader.wait(f"document.getElementById('found').innerText.includes({json.dumps(heading)})")
    field.clear()
    field.send_keys("softmax zebra <img src=x>")
    reader.wait("document.getElementById('found').innerText === 'Nothing found.'")
    field.send_keys(Keys.ESCAPE)
    assert not reader.find("#found").is_displayed()
    assert reader.noticed() == []


def test_every_page_fits_and_every_formula_is_drawn(reader):
    pages = [
        "index.html",
        *sorted(p.relative_to(reader.build).as_posix() for p in reader.build.glob("*/*.html")),
    ]
    assert len(pages) > 1
    for page in pages:
        reader.open(page)
        reader.ask("document.querySelectorAll('details').forEach((part) => (part.open = true))")
        width = reader.ask("innerWidth")
        assert width in (DESK[0], PHONE[0]), f"{page} made the screen {width} wide"
        assert reader.ask("document.documentElement.scrollWidth") <= width, page
        wide = reader.ask(WIDER_THAN_THE_SCREEN)
        assert wide == [], f"{page} is cut off at {wide}"
        formulas = reader.ask("document.querySelectorAll('.math').length")
        assert (
            reader.ask("document.querySelectorAll('.math > mjx-container > svg').length")
            == formulas
        )
        assert reader.ask("document.querySelectorAll('[data-mml-node=merror]').length") == 0, page
        assert formulas > 10 or page == "index.html"
        assert not reader.ask("document.querySelector('main').innerText.includes('\\\\\\\\(')"), (
            page
        )
        assert reader.ask(LONGEST_LINE) <= 75, page
    assert reader.noticed() == []


# What reaches over the right edge and lies in no box that scrolls.
WIDER_THAN_THE_SCREEN = """[...document.querySelectorAll('body *')].filter((part) => {
  if (part.closest('svg, mjx-assistive-mml, .skip')) return false;
  if (part.getBoundingClientRect().right <= innerWidth + 1) return false;
  for (let box = part.parentElement; box; box = box.parentElement)
    if (/auto|scroll/.test(getComputedStyle(box).overflowX)) return false;
  return true;
}).map((part) => part.outerHTML.slice(0, 80))"""

# Characters in the longest line of the first paragraphs that have no formula.
LONGEST_LINE = """Math.max(0, ...[...document.querySelectorAll('.cell.text > p, .lead')]
  .filter((part) => !part.querySelector('.math')).slice(0, 12).map((part) => {
    const lines = new Map(), range = document.createRange();
    const walker = document.createTreeWalker(part, NodeFilter.SHOW_TEXT);
    while (walker.nextNode())
      for (let at = 0; at < walker.currentNode.length; at++) {
        range.setStart(walker.currentNode, at);
        range.setEnd(walker.currentNode, at + 1);
        const line = Math.round(range.getBoundingClientRect().bottom / 8);
        lines.set(line, (lines.get(line) ?? 0) + 1);
      }
    return Math.max(...lines.values());
  }))"""


def test_dark_is_dark_and_figures_keep_their_white_ground(chromium, built):
    reader = Reader(chromium, built, DESK)
    ground = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    for scheme, is_right in (("light", min), ("dark", max)):
        reader.colours(scheme)
        reader.open(MOONS)
        level = is_right(reader.ask(ground))
        assert level > 240 if scheme == "light" else level < 40
        assert reader.ask(
            "getComputedStyle(document.querySelector('figure img')).backgroundColor"
        ) == ("rgb(255, 255, 255)")
        text = reader.ask("getComputedStyle(document.querySelector('.cell.text > p')).color")
        assert (
            reader.ask("getComputedStyle(document.querySelector('mjx-container svg')).color")
            == text
        )
    assert reader.noticed() == []


def test_plumbing_opens_and_contents_lead_to_their_heading(reader):
    reader.open(MOONS)
    source = reader.find(".plumbing .source")
    assert not source.is_displayed()
    reader.find(".plumbing summary").click()
    assert source.is_displayed()
    contents = reader.find(".contents details")
    narrow = reader.ask("innerWidth") == PHONE[0]
    assert bool(contents.get_attribute("open")) != narrow
    if narrow:
        reader.ask("scrollTo(0, 0)")
        reader.find(".contents summary").click()
    reader.find('.contents a[href="#Training"]').click()
    top = "document.getElementById('Training').getBoundingClientRect().top"
    reader.wait(f"{top} > 0 && {top} < 200")
    assert reader.noticed() == []
