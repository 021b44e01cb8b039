import pytest

from gradwatch.sinks.places import Places

NAMES = [f"layer_{number}/kernel" for number in range(30)]


def taken(places):
    return [name for name in NAMES if name in places]


def test_few_names_all_have_one():
    places = Places("variables", "worst", 10)
    places.learn(NAMES[:10])
    assert taken(places) == NAMES[:10]
    assert not places.are_contested


def test_half_of_the_places_are_kept_for_later_trouble():
    places = Places("variables", "worst", 10)
    places.learn(NAMES)
    assert taken(places) == []
    assert places.are_contested
    assert places.fill(NAMES, final=False) == set(NAMES[:5])
    assert places.fill([NAMES[0], NAMES[20], *NAMES[1:]], final=False) == {NAMES[20]}
    assert places.fill(NAMES[::-1], final=True) == set(NAMES[26:])
    assert taken(places) == [*NAMES[:5], NAMES[20], *NAMES[26:]]


def test_a_place_is_kept():
    places = Places("variables", "worst", 10)
    places.learn(NAMES)
    places.fill(NAMES, final=True)
    assert places.fill(NAMES[::-1], final=True) == set()
    assert taken(places) == NAMES[:10]


def test_early_trouble_never_takes_more_than_there_are():
    places = Places("variables", "worst", 3)
    places.learn(NAMES)
    for first in range(0, 20, 2):
        places.fill(NAMES[first:], final=False)
    assert len(taken(places)) == 3
    assert not places.are_contested


def test_a_name_that_comes_later_takes_what_is_left():
    places = Places("variables", "worst", 3)
    places.learn(NAMES[:2])
    places.learn(NAMES[:4])
    assert places.fill(NAMES[3:], final=True) == {NAMES[3]}


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("all", NAMES),
        ("none", []),
        ((), []),
        (("layer_1/*", "layer_2?/*"), [NAMES[1], *NAMES[20:]]),
        (["*_7/kernel"], [NAMES[7]]),
    ],
)
def test_asked_for(wanted, expected):
    places = Places("variables", wanted, 3)
    places.learn(NAMES)
    assert taken(places) == expected
    assert not places.are_contested
    assert places.fill(NAMES, final=True) == set()


@pytest.mark.parametrize(
    ("wanted", "error", "match"),
    [
        ("wrost", ValueError, r"variables='wrost'.*\('wrost',\)"),
        ("layer_1/*", ValueError, r"\('layer_1/\*',\)"),
        (None, TypeError, "variables=None"),
        (10, TypeError, "variables=10"),
        ((1,), TypeError, "glob"),
    ],
)
def test_bad_input(wanted, error, match):
    with pytest.raises(error, match=match):
        Places("variables", wanted, 10)
