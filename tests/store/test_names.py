from hypothesis import given
from hypothesis import strategies as st

from gradwatch import store
from gradwatch.store import names
from gradwatch.store.names import Span


@st.composite
def histories(draw):
    """What may lie in a directory: single parts that were put together, and again, with or without leftovers."""
    num_parts = draw(st.integers(1, 12))
    tiles = [Span(1, number, number) for number in range(num_parts)]
    present = set(tiles)
    for _ in range(draw(st.integers(0, 4))):
        first = draw(st.integers(0, len(tiles) - 1))
        last = draw(st.integers(first, len(tiles) - 1))
        group = tiles[first : last + 1]
        tiles[first : last + 1] = [Span(1, group[0].first, group[-1].last)]
        present.add(tiles[first])
        if draw(st.booleans()):
            present -= {span for span in group if span not in tiles}
    return num_parts, sorted(present), tiles


@given(histories())
def test_each_record_is_read_once(history):
    num_parts, present, tiles = history
    chosen, missing = names.tiled(present, num_parts)
    assert (chosen, missing) == (tiles, None)


@given(histories(), st.data())
def test_a_lost_part_is_noticed(history, data):
    num_parts, _, tiles = history
    lost = data.draw(st.sampled_from(tiles))
    _, missing = names.tiled([span for span in tiles if span != lost], num_parts)
    assert missing.first == lost.first


def test_names_are_read_again(tmp_path):
    spans = [Span(1, 0, 0), Span(1, 1, 64), Span(12, 3, 1_000_000)]
    for span in spans:
        (tmp_path / span.name).touch()
    (tmp_path / "part-x.parquet").touch()
    assert sorted(names.parts_in(store.folder(tmp_path))) == spans
