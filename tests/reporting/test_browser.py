"""The report in a real browser: Chromium without a window, by its own driver; nothing here goes to the network."""

import base64
import io
import json
import os
import re
import shutil
import unicodedata

import numpy as np
import pypdf
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from gradwatch import compare
from gradwatch.diagnosis import diagnose
from gradwatch.reporting import content, html, report
from gradwatch.testing import synthetic_log

pytestmark = pytest.mark.slow

NEEDED = "The report is tested in Chromium. Debian and Ubuntu: apt-get install chromium chromium-driver"
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
BODY = ".gw-variables tbody tr"
# The lowest contrast of any text with what is behind it, and that text.
CONTRAST = """
const channels = (color) => color.match(/[\\d.]+/g).map(Number);
const light = (color) => {
  const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const [r, g, b] = channels(color).map((v) => linear(v / 255));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (element) => {
  for (; element; element = element.parentElement) {
    const color = getComputedStyle(element).backgroundColor;
    if ((channels(color)[3] ?? 1) === 1) return color;
  }
  return "rgb(255, 255, 255)";
};
const found = [];
for (const element of document.querySelectorAll("body *:not(svg *, script, style, option)")) {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  if (!own || !element.checkVisibility()) continue;
  const pair = [light(getComputedStyle(element).color), light(behind(element))].sort((a, b) => a - b);
  found.push([(pair[1] + 0.05) / (pair[0] + 0.05), element.textContent.trim().slice(0, 40)]);
}
return [found.length, ...found.sort(([a], [b]) => a - b)[0]];
"""


def program(*names):
    """The path of a program; without it tests are left out, or fail where `GRADWATCH_REQUIRE_BROWSER` asks for them."""
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None and os.environ.get("GRADWATCH_REQUIRE_BROWSER"):
        pytest.fail(f"There is no {names[0]}. {NEEDED}")
    if found is None:
        pytest.skip(f"There is no {names[0]}. {NEEDED}")
    return found


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = program("chromium", "chromium-browser", "google-chrome")
    for argument in (*QUIET, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # With both paths given, Selenium does not look for a browser or a driver to download.
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(program("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture
def show(browser, tmp_path):
    """Opens a page as a file; afterwards nothing may stand in the console, and nothing may have been asked for."""

    def opened(html, *, width=1280, height=900, scheme="light", media=""):
        (tmp_path / "report.html").write_text(html, encoding="utf-8")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
        browser.get((tmp_path / "report.html").as_uri())
        return browser

    browser.get("data:,")
    browser.get_log("browser"), browser.get_log("performance")
    yield opened
    assert browser.get_log("browser") == []
    assert [url for url in requested(browser) if not url.startswith(("file:", "data:"))] == []


def requested(browser):
    """The addresses that were asked for since this was last called."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


@pytest.fixture(scope="module")
def drawn():
    """Keeps the pages that several tests look at: drawing the pictures is what takes time."""
    return {}


@pytest.fixture
def page(log, diagnosis, drawn):
    return drawn.get("page") or drawn.setdefault("page", report(log, diagnosis).to_html())


@pytest.fixture
def compared_page(log, drawn):
    return drawn.get("compared") or drawn.setdefault("compared", compare(synthetic_log(), log).report().to_html())


def without_pictures(log):
    return html.page(content.gather(log, diagnose(log)))


def column(browser, number):
    """What stands in a column of the table, in the rows that are shown."""
    cells = browser.find_elements(By.CSS_SELECTOR, f"{BODY} > :nth-child({number})")
    return [cell.text for cell in cells if cell.is_displayed()]


def head(browser, name):
    heads = browser.find_elements(By.CSS_SELECTOR, ".gw-variables thead th")
    return next(cell for cell in heads if cell.text.split() and cell.text.split()[0] == name)


def search(browser, words):
    field = browser.find_element(By.CSS_SELECTOR, ".gw-search")
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys(Keys.DELETE, words)


def count(browser):
    return browser.find_element(By.CSS_SELECTOR, ".gw-controls output").text


def printed(browser):
    """The text of each page of paper, without line breaks and ligatures."""
    file = io.BytesIO(base64.b64decode(browser.print_page()))
    texts = [page.extract_text().replace("\n", "") for page in pypdf.PdfReader(file).pages]
    return [unicodedata.normalize("NFKC", text) for text in texts]


def test_a_missing_browser_says_what_to_install(monkeypatch):
    monkeypatch.delenv("GRADWATCH_REQUIRE_BROWSER", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install chromium chromium-driver"):
        program("no-such-browser")
    monkeypatch.setenv("GRADWATCH_REQUIRE_BROWSER", "1")
    with pytest.raises(pytest.fail.Exception, match="There is no no-such-browser"):
        program("no-such-browser")


def test_opens_without_a_word_in_the_console_or_a_request(show, page):
    browser = show(page)
    assert browser.title == "Gradient report: digits <b>"
    assert browser.find_element(By.CLASS_NAME, "gw-verdict").text.startswith("Not healthy")
    assert len(column(browser, 1)) == 5
    pictures = browser.find_elements(By.CLASS_NAME, "gw-picture")
    assert len(pictures) == 5
    assert all(picture.size["height"] > 100 for picture in pictures)


def test_the_page_allows_no_other_script_and_no_network(browser, show, page):
    show(page)
    added = "const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s);"
    assert browser.execute_script(f"{added} return window.ran") is None
    asked = "fetch('https://example.org').then(() => arguments[0]('sent'), () => arguments[0]('refused'))"
    assert browser.execute_async_script(asked) == "refused"
    said = [entry["message"] for entry in browser.get_log("browser")]
    assert all("Content Security Policy" in message or "example.org" in message for message in said), said
    assert not [url for url in requested(browser) if url.startswith("http")]


def test_a_click_sorts_and_a_second_one_turns_the_order(show, page):
    browser = show(page)
    assert column(browser, 1) == ["1", "2", "3", "4", "5"]
    assert head(browser, "#").get_attribute("aria-sort") == "ascending"
    for order in ("descending", "ascending"):
        head(browser, "median").find_element(By.TAG_NAME, "button").click()
        assert head(browser, "median").get_attribute("aria-sort") == order
        assert head(browser, "#").get_attribute("aria-sort") is None
        *numbers, missing = column(browser, 8)
        values = [float(number) for number in numbers]
        assert values == sorted(values, reverse=order == "descending")
        assert len(set(values)) == 4
        assert missing == "-"


def test_names_sort_in_the_order_of_the_model_and_shapes_by_size(show, page):
    browser = show(page)
    head(browser, "variable").find_element(By.TAG_NAME, "button").click()
    assert [path.split("/")[0] for path in column(browser, 2)] == [
        "embed",
        "<script>alert(1)<",
        "a|b`c",
        "head",
        "head",
    ]
    head(browser, "shape").find_element(By.TAG_NAME, "button").click()
    assert column(browser, 3) == [
        "scalar",
        *(f"{a}\N{MULTIPLICATION SIGN}{b}" for a, b in ((4, 2), (4, 4), (8, 4), (50, 8))),
    ]


def test_a_keyboard_reaches_and_sorts_the_table(show, page):
    browser = show(page)
    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    skip = browser.switch_to.active_element
    assert skip.text == "Skip to the table of variables"
    assert skip.rect["x"] >= 0
    skip.send_keys(Keys.ENTER)
    stops = []
    for _ in range(12):
        webdriver.ActionChains(browser).send_keys(Keys.TAB).perform()
        stops.append(browser.switch_to.active_element)
        assert stops[-1].value_of_css_property("outline-style") != "none", stops[-1].get_attribute("outerHTML")
    assert [stop.tag_name for stop in stops[:3]] == ["input", "select", "input"]
    assert stops[3].get_attribute("aria-label") == "Table of variables"
    assert stops[11].text == "median"
    stops[11].send_keys(Keys.ENTER)
    assert head(browser, "median").get_attribute("aria-sort") == "descending"
    stops[11].send_keys(Keys.SPACE)
    assert head(browser, "median").get_attribute("aria-sort") == "ascending"
    assert browser.switch_to.active_element == stops[11]
    assert not skip.is_displayed() or skip.rect["x"] < 0


def test_words_narrow_the_table_down(show, page):
    browser = show(page)
    assert count(browser) == "5 of 5 shown"
    search(browser, "HEAD kern")
    assert column(browser, 2) == ["head/kernel"]
    assert count(browser) == "1 of 5 shown"
    assert browser.find_element(By.CSS_SELECTOR, "output").get_attribute("aria-live") == "polite"
    search(browser, "gw401")
    assert column(browser, 2) == ["embed/table"]
    head(browser, "median").find_element(By.TAG_NAME, "button").click()
    assert column(browser, 2) == ["embed/table"]
    search(browser, "")
    assert len(column(browser, 2)) == 5


def test_what_fits_nothing_says_so_and_can_be_undone(show, page):
    browser = show(page)
    search(browser, "nowhere")
    assert count(browser) == "0 of 5 shown"
    nothing = browser.find_element(By.CLASS_NAME, "gw-nothing")
    assert nothing.text.startswith("No variable fits.")
    nothing.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    assert len(column(browser, 1)) == 5
    assert not nothing.is_displayed()
    assert browser.switch_to.active_element.get_attribute("type") == "search"


def test_only_those_with_a_problem_of_a_kind(show, page):
    browser = show(page)
    choice = Select(browser.find_element(By.CLASS_NAME, "gw-kinds"))
    for option in choice.options:
        choice.select_by_visible_text(option.text)
        assert str(len(column(browser, 1))) in option.text
    choice.select_by_value("detached")
    assert column(browser, 2) == ["embed/table"]
    choice.select_by_value("nonfinite")
    search(browser, "embed")
    assert column(browser, 2) == []


def test_a_finding_leads_to_its_variable_also_if_that_was_filtered_out(show, page):
    browser = show(page)
    search(browser, "scale")
    browser.find_element(By.LINK_TEXT, "embed/table").click()
    row = browser.find_element(By.CSS_SELECTOR, "tr:target")
    assert row.is_displayed()
    assert row.find_element(By.TAG_NAME, "th").text == "embed/table"
    assert count(browser) == "5 of 5 shown"


def test_lines_on_one_scale_are_where_their_norms_are(show):
    norms = {"dense/kernel": 1.0, "dense/bias": 1e-3, "head/kernel": np.geomspace(1, 1e-3, 60), "head/bias": 1e-6}
    browser = show(without_pictures(synthetic_log(grad_norm=norms)))
    heights = """
        return Object.fromEntries([...document.querySelectorAll(".gw-variables tbody tr")].map((row) => {
          const box = row.querySelector(".gw-norm").getBoundingClientRect();
          const frame = row.querySelector("svg").getBoundingClientRect();
          return [row.querySelector("th").textContent, [box.top - frame.top, box.bottom - frame.top]];
        }));
    """
    assert browser.execute_script(heights)["dense/kernel"] == pytest.approx([11, 11], abs=1)
    browser.find_element(By.CSS_SELECTOR, "input.gw-one-scale").click()
    common = browser.execute_script(heights)
    assert common["dense/kernel"] == pytest.approx([2, 2], abs=1)
    assert common["dense/bias"] == pytest.approx([11, 11], abs=1)
    assert common["head/kernel"] == pytest.approx([2, 11], abs=1)
    assert common["head/bias"] == pytest.approx([20, 20], abs=1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_stands_out(show, compared_page, scheme):
    browser = show(compared_page, scheme=scheme)
    number, contrast, text = browser.execute_script(CONTRAST)
    assert number > 100
    assert contrast > 4.5, text
    red, *_ = browser.execute_script(
        "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    )
    assert (red > 200) == (scheme == "light")


@pytest.mark.parametrize("width", [390, 820, 1280])
def test_nothing_is_wider_than_the_window(show, compared_page, width):
    browser = show(compared_page, width=width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_paper_shows_all_of_it_and_no_controls(show):
    paths = {f"encoder/block_{number}/attention/dense/kernel": (64, 64) for number in range(100)}
    browser = show(without_pictures(synthetic_log(variables=paths, detached=list(paths)[:20])), scheme="dark")
    pages = printed(browser)
    text = "".join(pages)
    assert re.findall(r"Filter|Skip to|one scale", text) == []
    table = text.partition("Variables, worst first")[2]
    assert {path for path in paths if path in table} == set(paths)
    # What a finding folds away on the screen.
    found = text.partition("The run")[0]
    assert {path for path in paths if path in found} == set(list(paths)[:20])
    with_rows = [page for page in pages if re.search("dense/kernel *64", page)]
    assert len(with_rows) >= 2
    assert all(re.search("variable.*problem.*median.*over steps", page) for page in with_rows)


def test_the_table_fits_on_paper_and_the_ink_is_dark(show, compared_page):
    browser = show(compared_page, width=718, media="print", scheme="dark")  # A4 between its margins
    for table in browser.find_elements(By.TAG_NAME, "table"):
        frame = table.find_element(By.XPATH, "..")
        assert table.rect["x"] + table.rect["width"] <= 718
        assert frame.rect["height"] >= table.rect["height"]
    assert browser.execute_script("return getComputedStyle(document.querySelector('th')).color") == "rgb(28, 33, 40)"


def test_paper_says_that_rows_were_filtered_out(show, page):
    browser = show(page, media="print")
    browser.execute_script(
        "const s = document.querySelector('.gw-search'); s.value = 'head'; s.dispatchEvent(new Event('input'))"
    )
    assert count(browser) == "2 of 5 shown"
    assert not browser.find_element(By.CLASS_NAME, "gw-search").is_displayed()


def test_all_can_be_read_without_scripts(browser, show, page):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        show(page)
        assert len(column(browser, 2)) == 5
        assert head(browser, "median").text == "median"
        assert not browser.find_elements(By.CSS_SELECTOR, "th button")
        assert not browser.find_element(By.CLASS_NAME, "gw-controls").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_300_variables_sort_and_filter(show):
    norms = np.exp(np.random.default_rng(0).normal(size=(60, 300)))
    paths = {f"encoder/block_{number}/kernel": (8, 8) for number in range(300)}
    browser = show(without_pictures(synthetic_log(variables=paths, grad_norm=norms)))
    head(browser, "last").find_element(By.TAG_NAME, "button").click()
    values = "return [...document.querySelectorAll('.gw-variables tbody tr')].map((r) => +r.cells[8].dataset.value)"
    assert browser.execute_script(values) == pytest.approx(sorted(norms[-1], reverse=True))
    search(browser, "block_29")
    assert count(browser) == "11 of 300 shown"


def test_two_reports_in_one_notebook_each_have_their_own_controls(show, log, diagnosis):
    fragment = html.fragment(content.gather(log, diagnosis))
    both = compare(synthetic_log(), log)._repr_html_()
    browser = show(f"<!DOCTYPE html><meta charset=utf-8><body>{fragment}{both}{fragment}")
    first, layers, second = browser.find_elements(By.CLASS_NAME, "gradwatch-report")
    first.find_element(By.CLASS_NAME, "gw-search").send_keys("scale")
    assert first.find_element(By.TAG_NAME, "output").text == "1 of 5 shown"
    assert second.find_element(By.TAG_NAME, "output").text == "5 of 5 shown"
    button = layers.find_element(By.CSS_SELECTOR, "th button")
    button.click()
    assert layers.find_element(By.CSS_SELECTOR, "tbody th").text == "dense"
    assert layers.find_element(By.CSS_SELECTOR, "th").get_attribute("aria-sort") == "ascending"
