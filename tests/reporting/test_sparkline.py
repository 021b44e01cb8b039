import numpy as np

from gradwatch.reporting import sparkline

NAN = float("nan")


def test_svg_breaks_at_gaps_and_marks_bad_bins():
    svg = sparkline.svg([1.0, 10.0, NAN, 10.0, 10.0], [False, False, True, False, False])
    line = svg.split('"gw-bad"')[1].split('<path d="')[1]
    assert line.count("M") == 2
    assert svg.split('class="gw-bad" d="')[1].startswith(f"M{sparkline.WIDTH // 2} 1v")


def test_svg_of_nothing_is_nothing():
    assert sparkline.svg([NAN, NAN], [False, False]) == ""


def test_zero_lies_at_the_bottom_and_a_steady_line_in_the_middle():
    assert sparkline.text([0.0, 1.0, 100.0], [False] * 3) == "▁▁█"
    assert set(sparkline.text([3.0] * 16, [False] * 16)) == {"▄"}


def test_text_keeps_the_peak_of_each_group():
    points = np.ones(160)
    points[85] = 1000.0
    assert sparkline.text(points, [False] * 160).index("█") == 8


def test_text_of_nothing():
    assert sparkline.text([], []) == ""
    assert sparkline.text([NAN], [False]) == "·"
