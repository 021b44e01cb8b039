import pytest

from gradwatch.reporting import Report, report
from gradwatch.testing import synthetic_log


def test_judges_the_log_itself():
    made = report(synthetic_log(detached=["head/kernel"]))
    assert isinstance(made, Report)
    assert [finding.code for finding in made.diagnosis.findings] == ["GW401"]
    assert str(made) == str(made.diagnosis)


@pytest.mark.parametrize(("name", "start"), [("r.html", "<!DOCTYPE html>"), ("new/dir/r.md", "# Gradient report")])
def test_save(tmp_path, name, start):
    report(synthetic_log()).save(tmp_path / name)
    assert (tmp_path / name).read_text(encoding="utf-8").startswith(start)


def test_save_refuses_other_formats(tmp_path):
    with pytest.raises(ValueError, match=r"Received: .*report\.pdf'\. Give a name that ends in \.html or \.md"):
        report(synthetic_log()).save(tmp_path / "report.pdf")
    assert not list(tmp_path.iterdir())


def test_refuses_what_is_not_a_log():
    with pytest.raises(TypeError, match=r"`log` must be a gradwatch Log\. Received: 3"):
        report(3)
