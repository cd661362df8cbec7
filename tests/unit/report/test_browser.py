"""The report in a browser: nothing fails, everything is drawn, sorted, listed, saved and read, on any screen."""

import io
import shutil
import time
from xml.etree import ElementTree

import pandas as pd
import pytest
from report_study import CLASSES, make_study, with_tables

from merflow.evaluation.evaluate import evaluate, merge
from merflow.evaluation.settings import EvaluationSettings
from merflow.report.page import write_report
from merflow.report.section import sheet_id

CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver"),
]
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync"
)
NAMES = ["tsdgcn", "majority", "softmax"]
ODD = '</script><b>"odd" & <i>'
"""A class that would break out of the page."""


class Reader:
    """A browser with the report open, on a screen of some width, by day or by night."""

    def __init__(self, folder):
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in [*FLAGS.split(), f"--user-data-dir={folder / 'profile'}"]:
            options.add_argument(flag)
        self.downloads = folder / "downloads"
        many = {"profile.default_content_setting_values.automatic_downloads": 1}
        options.add_experimental_option("prefs", {"download.default_directory": str(self.downloads)} | many)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(DRIVER))

    def open(self, page, width=1400, dark=False):
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        mode = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": mode})
        self.driver.get("about:blank")
        self.driver.get(page.as_uri())
        return self

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def find(self, selector):
        from selenium.webdriver.common.by import By

        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def press(self, element, key="ENTER"):
        from selenium.webdriver.common.keys import Keys

        self.run("arguments[0].focus()", element)
        assert self.run("return document.activeElement === arguments[0]", element), "reached by the keyboard"
        self.driver.switch_to.active_element.send_keys(getattr(Keys, key))

    def click(self, element):
        """A real click, at the place where the element is seen."""
        self.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
        element.click()

    def saved(self, name):
        """The text of a file once it is downloaded."""
        for _ in range(100):
            if (self.downloads / name).is_file() and not list(self.downloads.glob("*.crdownload")):
                text = (self.downloads / name).read_text(encoding="utf-8")
                (self.downloads / name).unlink()
                return text
            time.sleep(0.1)
        raise AssertionError(f"{name} was not saved; there is {list(self.downloads.glob('*'))}")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    skills = {"tsdgcn": 0.6, "majority": 0.0, "softmax": 0.3}
    return make_study(tmp_path_factory.mktemp("study"), classes=[*CLASSES[:4], ODD], skills=skills)


@pytest.fixture(scope="module")
def report(study, tmp_path_factory):
    page = tmp_path_factory.mktemp("page") / "report.html"
    write_report(study, page)
    return page


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    reader = Reader(tmp_path_factory.mktemp("browser"))
    yield reader
    reader.driver.quit()


@pytest.fixture
def reader(browser, report):
    return browser.open(report)


def test_page_loads_without_errors(reader):
    assert reader.driver.get_log("browser") == []
    reader.run("for (const folded of document.querySelectorAll('details')) folded.open = true")
    sizes = reader.run(
        "return [...document.querySelectorAll('figure.drawing svg, img')].map(e => e.getBoundingClientRect())"
        ".map(b => [b.width, b.height])"
    )
    assert len(sizes) > 50 and all(width >= 20 and height >= 20 for width, height in sizes)
    assert reader.run("return [...document.images].every(i => i.alt.length > 10)")
    widths = reader.run(
        "for (const i of document.images) i.loading = 'eager';"
        "return Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth)))"
    )
    assert len(widths) > 50 and min(widths) > 20
    drawn = (
        "return [...document.querySelectorAll('figure.drawing svg')].map(s => s.querySelectorAll('path, use').length)"
    )
    assert all(number > 5 for number in reader.run(drawn))


def test_links_resolve_and_unfold_their_targets(reader):
    links = [link.get_attribute("href").split("#") for link in reader.find("a:not([download])")]
    assert len(links) > 20 and all(page == links[0][0] for page, _ in links)
    for name in {name for _, name in links}:
        assert reader.run("return document.getElementById(arguments[0]) !== null", name), name
    hidden = (
        "const d = document.querySelector('#settings details'); d.querySelector('pre').id = 'deep'; d.open = false;"
    )
    reader.run(hidden + "location.hash = '#deep'")
    assert reader.run(
        "return new Promise(done => setTimeout(() => done(document.querySelector('#settings details').open), 100))"
    )


def test_contents_and_headings_are_in_page_order(reader):
    named = reader.run("return [...document.querySelectorAll('nav a')].map(a => a.hash.slice(1))")
    assert named == reader.run("return [...document.querySelectorAll('main section')].map(s => s.id)")
    assert reader.run("return ['header', 'nav', 'main'].map(t => document.querySelectorAll(t).length)") == [1, 1, 1]
    levels = reader.run("return [...document.querySelectorAll('h1, h2, h3, h4')].map(h => Number(h.tagName[1]))")
    assert levels[0] == 1 and all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))
    reader.driver.switch_to.active_element.send_keys("\t")
    assert reader.run("return document.activeElement.className") == "skip", "the first stop of the keyboard"


def column(reader, table, place):
    return reader.run(
        "return [...arguments[0].tBodies[0].rows].map(r => r.cells[arguments[1]].innerText)", table, place
    )


@pytest.mark.parametrize("key", [None, "ENTER", "SPACE"])
def test_tables_sort_by_number_and_return_to_their_order(reader, key):
    def turn(button):
        reader.click(button) if key is None else reader.press(button, key)

    # Times of 9, 70, 100 seconds are shown as 9.0 s, 1 min 10 s, 1 min 40 s: as text, 1 min comes before 9.0 s.
    table = reader.run(
        """const table = document.querySelector('#timings table'), times = [70, 9, 100, 8];
        [...table.tBodies[0].rows].slice(0, 4).forEach((row, n) => { row.cells[2].dataset.value = times[n]; });
        [...table.tBodies[0].rows].slice(4).forEach(row => row.remove());
        return table"""
    )
    stages = column(reader, table, 0)
    head = table.find_elements("css selector", "thead th")[2]
    button = head.find_element("css selector", "button")
    states, orders = [], []
    for _ in range(3):
        turn(button)
        states.append(head.get_attribute("aria-sort"))
        orders.append([stages.index(name) for name in column(reader, table, 0)])
    assert states == ["ascending", "descending", None]
    assert orders == [[3, 1, 0, 2], [2, 0, 1, 3], [0, 1, 2, 3]], "as text, 100 comes before 70"


def test_datasets_stay_below_their_system(browser, study, tmp_path):
    predictions = pd.read_csv(study.tables["predictions"])
    predictions.loc[predictions["subject"].isin(sorted(set(predictions["subject"]))[:3]), "dataset"] = "other"
    predictions.to_csv(tmp_path / "predictions.csv", index=False)
    tables = []
    for name, rows in predictions.groupby("experiment", sort=False):
        rows.to_csv(tmp_path / "own.csv", index=False)
        tables.append(tmp_path / f"{name}.csv")
        settings = EvaluationSettings(name, "loso", [*CLASSES[:4], ODD])
        evaluate(tmp_path / "own.csv", tables[-1], settings)
    merge(tables, tmp_path / "metrics.csv")
    changed = {name: tmp_path / f"{name}.csv" for name in ("predictions", "metrics")}
    write_report(with_tables(study, **changed), tmp_path / "report.html")
    metrics = pd.read_csv(tmp_path / "metrics.csv").query("scope == 'pooled' and metric == 'uf1'")
    reader = browser.open(tmp_path / "report.html")
    table = reader.find("#results table")[0]
    button = table.find_elements("css selector", "thead button")[3]
    reader.click(button)
    names = [name.split()[0] for name in column(reader, table, 0)]
    parts = ["other", "people-micro"]
    assert sorted(names[1:3]) == parts, "the order of the datasets"
    order = metrics.sort_values("value")["experiment"]
    assert names == [name for experiment in order for name in (experiment, *names[1:3])]


@pytest.mark.parametrize("key", [None, "ENTER", "SPACE"])
def test_cell_lists_its_clips(reader, study, key):
    predictions = pd.read_csv(study.tables["predictions"]).query("experiment == 'tsdgcn'")
    counts = predictions.groupby(["truth", "predicted"]).size()
    classes = [*CLASSES[:4], ODD]
    gone = predictions["subject"].iloc[-1]
    sheet = reader.run("return document.getElementById(arguments[0])", sheet_id("people-micro", gone))
    reader.run("arguments[0].remove()", sheet)
    cells = reader.find("table.confusion[data-system=tsdgcn] button.cell")
    for truth, predicted in ((ODD, ODD), counts.index[-1], counts.index[0]):
        cell = cells[classes.index(truth) * 5 + classes.index(predicted)]
        reader.click(cell) if key is None else reader.press(cell, key)
        assert cell.get_attribute("aria-expanded") == "true"
        panel = reader.find(f"#{cell.get_attribute('aria-controls')}")[0]
        expected = predictions[(predictions["truth"] == truth) & (predictions["predicted"] == predicted)]
        rows = reader.run(
            "return [...arguments[0].querySelectorAll('tbody tr')].map(r => [...r.cells].map(c => c.textContent))",
            panel,
        )
        assert [row[:2] for row in rows] == expected[["clip", "subject"]].to_numpy().tolist()
        assert [float(text) for row in rows for text in row[2:]] == pytest.approx(
            expected[[f"p_{name}" for name in classes]].to_numpy().ravel().tolist(), abs=5e-4
        )
        assert f"{truth}," in panel.text and predicted in panel.text
        links = panel.find_elements("css selector", "td a")
        assert [link.text for link in links] == [name for name in expected["subject"] if name != gone], (
            "no link to nowhere"
        )
    reader.click(cell) if key is None else reader.press(cell, key)
    assert cell.get_attribute("aria-expanded") == "false" and panel.text == ""
    assert reader.find("i") == [] and reader.driver.get_log("browser") == [], "no label broke out"


def test_cells_sort_by_number_and_empty_ones_come_last(reader):
    reader.click(reader.find("table.confusion[data-system=tsdgcn] button.cell")[0])
    table = reader.find(".chosen table")[0]
    values = ["10", "9 of 12", "\u2013", "-2.5 [-3, 1]", "100\u00a0%", "+0.5"]
    rows = reader.run(
        "const rows = [...arguments[0].tBodies[0].rows]; rows.forEach((r, n) => { if (n < arguments[1].length)"
        " r.cells[2].textContent = arguments[1][n]; }); return rows.length", table, values,
    )  # fmt: skip
    shown = values[:rows]
    assert rows >= 4
    head = table.find_elements("css selector", "thead button")[2]
    order = {"\u2013": None, "10": 10, "9 of 12": 9, "-2.5 [-3, 1]": -2.5, "100\u00a0%": 100, "+0.5": 0.5}
    numbers = sorted((text for text in shown if order[text] is not None), key=order.get)
    rest = column(reader, table, 2)[len(shown) :]
    for expected in (numbers, numbers[::-1]):
        reader.click(head)
        texts = [text.replace("\u202f", "\u00a0") for text in column(reader, table, 2)]
        assert [text for text in texts if text in numbers] == expected
        assert texts[-1] == "\u2013"
    reader.click(head)
    assert column(reader, table, 2) == shown + rest


def test_drawings_are_saved_with_their_numbers(browser, report):
    for dark in (False, True):
        names = [f.get_attribute("data-name") for f in browser.open(report, dark=dark).find("figure.drawing")]
        assert len(names) >= 6
        for name in names:
            reader = browser.open(report, dark=dark)  # Chromium allows ten downloads in a row from a page.
            (figure,) = reader.find(f"figure.drawing[data-name='{name}']")
            svg_button, csv_button = figure.find_elements("css selector", "a[download]")
            reader.click(svg_button)
            svg = reader.saved(f"{name}.svg")
            reader.press(csv_button)
            csv = reader.saved(f"{name}.csv")
            root = ElementTree.fromstring(svg)
            assert root.tag == "{http://www.w3.org/2000/svg}svg" and "var(" not in svg and "#ffffff" in svg
            assert "#1c2330" in svg, "the colours of the day, whatever the page shows"
            assert "(synthetic)" in "".join(root.itertext())
            assert len(pd.read_csv(io.StringIO(csv))) >= 3
        assert reader.driver.get_log("browser") == []


@pytest.mark.parametrize("width", [320, 390, 800, 1400])
def test_page_fits_the_screen(browser, report, width):
    reader = browser.open(report, width=width)
    reader.run("for (const folded of document.querySelectorAll('main details')) folded.open = true")
    reader.click(reader.find("button.cell")[0])
    sizes = reader.run(
        "return [document.documentElement.scrollWidth, document.documentElement.clientWidth, innerWidth]"
    )
    assert sizes[0] <= sizes[1] <= width and sizes[2] <= width
    reader.run("scrollTo({top: 3000, behavior: 'instant'})")
    top = reader.run("return document.querySelector('nav summary').getBoundingClientRect().top")
    assert 0 <= top < 40, "the contents stay in reach"


def test_contents_fold_on_a_phone(browser, report):
    reader = browser.open(report, width=390)
    opened = "return document.getElementById('contents').open"
    assert not reader.run(opened)
    reader.press(reader.find("#contents summary")[0])
    assert reader.run(opened)
    reader.find("nav a[href='#data']")[0].click()
    assert not reader.run(opened)
    places = []
    while abs((places or [999])[-1]) >= 200 and len(places) < 100:  # Pictures on the way load late.
        time.sleep(0.1)
        places.append(reader.run("return document.querySelector('#data h2').getBoundingClientRect().top"))
    assert abs(places[-1]) < 200, places


CONTRASTS = """
const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
const parsed = colour => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255]; };
const over = (top, below) => top.slice(0, 3).map((c, n) => c * top[3] + below[n] * (1 - top[3])).concat(1);
const ground = element => { const own = parsed(getComputedStyle(element).backgroundColor);
  if (own[3] === 1) return own;
  return over(own, element.parentElement ? ground(element.parentElement) : parsed('Canvas')); };
const light = colour => colour.slice(0, 3).map(c => c / 255)
  .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
  .reduce((sum, c, n) => sum + c * [0.2126, 0.7152, 0.0722][n], 0);
const found = [];
for (const element of document.querySelectorAll('body *')) {
  const inside = element.closest('svg') !== null;
  if (![...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
  if (!element.checkVisibility({visibilityProperty: true, opacityProperty: true})) continue;
  if (element.closest('script, style, title')) continue;
  if (inside && element.tagName !== 'text' && element.tagName !== 'tspan') continue;
  const style = getComputedStyle(element), below = ground(inside ? element.closest('figure') : element);
  const ink = over(parsed(inside ? style.fill : style.color), below);
  const [one, other] = [light(ink), light(below)].sort((a, b) => b - a);
  found.push([(one + 0.05) / (other + 0.05), element.tagName + ' ' + element.textContent.trim().slice(0, 40)]);
}
return found;
"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_has_enough_contrast(browser, report, dark):
    reader = browser.open(report, dark=dark)
    reader.run("for (const folded of document.querySelectorAll('details')) folded.open = true")
    ground = reader.run("return getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(18, 22, 29)" if dark else "rgb(255, 255, 255)")
    ratios = reader.run(CONTRASTS)
    assert len(ratios) > 300
    assert [(round(ratio, 2), text) for ratio, text in ratios if ratio < 4.5] == []


def test_page_is_complete_without_javascript(browser, report):
    browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        reader = browser.open(report)
        text = reader.find("main")[0].text
        assert [button.text for button in reader.find("button") if button.is_displayed()] == []
        assert "names" in text and "Classes and confusion" in text
        assert (
            reader.find("table.confusion .rate")[0].is_displayed()
            and reader.find("table.confusion .count")[0].is_displayed()
        )
        reader.find("#contents summary")[0].click()
        assert reader.find("nav a")[0].is_displayed()
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
