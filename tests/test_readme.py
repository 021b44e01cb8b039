import pathlib
import re

import matplotlib.pyplot as plt

import gradwatch

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_first_program_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    program = re.search(r"```python\n(.*?)```", README, re.DOTALL).group(1)
    exec(compile(program, "README.md", "exec"), {})
    assert "Healthy" in capsys.readouterr().out
    assert (tmp_path / "report.html").stat().st_size > 10_000
    plt.close("all")


def test_table_of_rules_is_the_list_of_rules():
    rows = re.findall(r"^\| (GW\d+) \| (\w+) \|", README, re.MULTILINE)
    assert rows == [(rule.code, rule.name) for rule in gradwatch.RULES]


def test_what_is_linked_is_there():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_commands_are_in_the_makefile():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for target in re.findall(r"^make ([a-z-]+)", README, re.MULTILINE):
        assert target in targets
