import pytest

from gradwatch.causes import KINDS, MENDS, Cause


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_words_and_a_mend(kind):
    cause = Cause(kind, op_type="Round", layer="head", source="train.py:83", code="y = tf.round(x)")
    assert "{" not in cause.explanation
    assert cause.mend.endswith(".")
    assert str(cause) == "Round in layer head, train.py:83: y = tf.round(x)"


def test_better_words_for_some_operations():
    assert Cause("not differentiable", op_type="ArgMax").mend == MENDS["ArgMax"]
    assert Cause("stopped", op_type="ArgMax").mend == KINDS["stopped"][1]


def test_a_line_without_an_operation():
    cause = Cause("left TensorFlow", source="train.py:83", code="y = x.numpy()")
    assert cause.explanation.startswith("`y = x.numpy()` (train.py:83) leaves TensorFlow")
    assert cause.sentence == f"{cause.explanation}."


def test_an_unknown_kind_is_its_own_explanation():
    assert (Cause("new").explanation, Cause("new").mend, str(Cause("new"))) == ("new", "", "new")
