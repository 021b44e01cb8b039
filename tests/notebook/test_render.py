import subprocess
import sys

import jinja2
import pytest
from pages import Page

from gradwatch import diagnose, notebook
from gradwatch.testing import synthetic_log


def shown():
    return notebook.render("diagnosis", diagnosis=diagnose(synthetic_log(nan_count=1)))


def test_is_one_element_and_well_formed():
    page = Page(shown())
    assert page.open == []
    assert page.source.startswith('<div class="gradwatch-card">')
    assert page.source.rstrip().endswith("</div>")
    assert page.source.count("gradwatch-card") > 20


def test_style_touches_nothing_outside():
    page = Page(shown())
    assert len(page.selectors) > 20
    assert all(selector.startswith(".gradwatch-card") for selector in page.selectors)
    assert "@import" not in page.source
    assert "url(" not in page.source


def test_text_takes_the_colour_of_the_page():
    style = shown().partition("<style>")[2].partition("</style>")[0]
    colours = [line for line in style.replace(";", "\n").splitlines() if line.strip().startswith("color:")]
    assert colours
    assert {line.strip().rstrip("}").strip() for line in colours} == {"color: inherit"}


def test_works_without_scripts():
    assert not {"script", "link", "iframe"} & set(Page(shown()).tags)


def test_a_template_that_lacks_something_says_so():
    with pytest.raises(jinja2.UndefinedError, match="diagnosis"):
        notebook.render("diagnosis")


def test_templates_are_read_only_where_something_is_shown():
    code = "import sys, gradwatch.notebook; assert 'jinja2' not in sys.modules, 'loaded'"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_templates_are_part_of_the_package():
    import configparser
    import pathlib

    setup = configparser.ConfigParser()
    setup.read(pathlib.Path(__file__).parents[2] / "setup.cfg")
    assert setup["options.package_data"]["gradwatch.notebook"] == "templates/*"
