import re

import numpy as np

from gradwatch.reporting import sparkline

NAN = float("nan")


def test_svg_breaks_at_gaps_and_marks_bad_bins():
    svg = sparkline.svg([1.0, 10.0, NAN, 10.0, 10.0], [False, False, True, False, False])
    line = svg.split('class="gw-norm" d="')[1]
    assert line.count("M") == 2
    assert svg.split('class="gw-bad" d="')[1].startswith(f"M{sparkline.WIDTH // 2} 1v")


def test_svg_of_nothing_is_nothing():
    assert sparkline.svg([NAN, NAN], [False, False]) == ""


def test_zero_lies_at_the_bottom_and_a_steady_line_in_the_middle():
    assert sparkline.text([0.0, 1.0, 100.0], [False] * 3) == "▁▁█"
    assert set(sparkline.text([3.0] * 16, [False] * 16)) == {"▄"}


def test_zeros_are_a_line_of_their_own_on_the_lower_edge():
    svg = sparkline.svg([1.0, 10.0, 0.0, 0.0, 5.0], [False] * 5)
    (zeros,) = re.findall(r'class="gw-zero" d="([^"]*)"', svg)
    bottom = sparkline.HEIGHT - sparkline.MARGIN
    assert re.fullmatch(rf"M\d+ {bottom}\.0L\d+ {bottom}\.0", zeros)
    (norms,) = re.findall(r'class="gw-norm" d="([^"]*)"', svg)
    assert norms.count("M") == 2


def test_moved_to_one_scale_equal_norms_are_at_equal_heights():
    span = (1e-4, 1e2)
    bottom, room = sparkline.HEIGHT - sparkline.MARGIN, sparkline.HEIGHT - 2 * sparkline.MARGIN
    for points in ([1e-4, 1.0], [1.0, 1.5], [1e-2, 1e2], [3.0]):
        svg = sparkline.svg(points, [False] * len(points), span)
        factor, shift = map(float, re.search(r"--k:(.*?);--d:(.*?)px", svg).groups())
        heights = [float(height) for height in re.findall(r"[ML]\d+ ([\d.]+)", svg)]
        expected = [bottom - room * (np.log10(point) + 4) / 6 for point in points]
        np.testing.assert_allclose(np.multiply(heights, factor) + shift, expected, atol=0.2)


def test_text_keeps_the_peak_of_each_group():
    points = np.ones(160)
    points[85] = 1000.0
    assert sparkline.text(points, [False] * 160).index("█") == 8


def test_text_of_nothing():
    assert sparkline.text([], []) == ""
    assert sparkline.text([NAN], [False]) == "·"
