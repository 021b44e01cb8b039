import numpy as np

from gradwatch.reporting import table


def test_rows_say_where_they_are_and_what_is_wrong(log, diagnosis):
    rows = {row.variable: row for row in table.rows(log, diagnosis.findings)}
    assert [row.rank for row in rows.values()] == [1, 2, 3, 4, 5]
    assert [rows[info.path].position for info in log.variable_infos] == [0, 1, 2, 3, 4]
    assert {path: row.kind for path, row in rows.items()} == {
        "embed/table": "detached",
        "head/kernel": "nonfinite",
        "a|b`c/kernel": "zero",
        "<script>alert(1)</script>/kernel": "",
        "head/scale": "",
    }
    assert rows["embed/table"].kinds == ("problem", "found", "detached")
    assert rows["head/scale"].kinds == ()
    assert (rows["head/scale"].size, rows["embed/table"].size) == (1, 400)
    assert (rows["embed/table"].prefix, rows["embed/table"].name) == ("embed/", "table")


def test_counts_of_kinds_leave_out_those_that_none_has(log, diagnosis):
    counts = table.kind_counts(table.rows(log, diagnosis.findings))
    assert counts == (
        ("problem", "with a problem", 3),
        ("found", "named in a finding", 2),
        ("detached", "no gradient", 1),
        ("nonfinite", "NaN or Inf", 1),
        ("zero", "zero", 1),
    )


def test_span_is_over_all_norms_above_zero(log):
    low, high = table.norm_span(table.rows(log))
    norms = log.wide("grad_norm").to_numpy()
    norms = norms[np.isfinite(norms) & (norms > 0)]
    assert (low, high) == (norms.min(), norms.max())
    assert table.norm_span(()) is None
