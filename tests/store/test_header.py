import json

import pytest

from gradwatch import schema
from gradwatch.causes import Cause
from gradwatch.errors import LogFormatError
from gradwatch.records import RunInfo, VariableInfo
from gradwatch.store import header

VARIABLES = (
    VariableInfo(
        "dense/kernel",
        "dense",
        (3, 2),
        "float32",
        cuts=(Cause("not differentiable", op_type="ArgMax", source="a.py:1"),),
    ),
    VariableInfo("b", "", (), "float16"),
)
INFO = RunInfo(model="net", statistics=("grad_norm",), allow_detached=("pooler/*",), num_trainable=2)


def test_round_trip():
    text = header.seal(header.to_json(VARIABLES, INFO), indent=1)
    assert header.from_json(header.unseal(text, "file")) == (VARIABLES, INFO)


def test_fields_of_another_release_are_left_out_or_get_their_default():
    content = header.to_json(VARIABLES, INFO)
    content["info"] |= {"mood": "good"}
    del content["info"]["on_nonfinite"]
    assert header.from_json(content) == (VARIABLES, INFO)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": "other"}', "[" * 100_000, b"\xff"])
def test_what_is_not_of_gradwatch(text):
    with pytest.raises(LogFormatError, match="a/file"):
        header.unseal(text, "a/file")


def test_a_changed_value_is_noticed():
    content = json.loads(header.seal({"number": 1}))
    for name in content:
        with pytest.raises(LogFormatError, match="a/file"):
            header.unseal(json.dumps({**content, name: 0}), "a/file")


def test_newer_version():
    text = json.dumps({"format": "gradwatch", "schema_version": schema.SCHEMA_VERSION + 1})
    with pytest.raises(LogFormatError, match="newer gradwatch"):
        header.unseal(text, "a/file")
