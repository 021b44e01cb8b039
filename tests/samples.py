"""Variables and segments to store, made by hand."""

import numpy as np

from gradwatch.records import STEP_DTYPES, RunInfo, Segment, VariableInfo

VARIABLES = tuple(
    VariableInfo(f"dense_{index // 2}/{kind}", f"dense_{index // 2}", (3, 2), "float32")
    for index, kind in enumerate(["kernel", "bias"] * 3)
)
INFO = RunInfo(model="net", versions={"python": "3.11"}, allow_detached=("pooler/*",), num_trainable=6)


def make_segment(num_steps=4, variables=(0, 1, 2), detached=(), optimizer="adam", dtype="float32", first=0):
    steps = {name: np.zeros(num_steps, kind) for name, kind in STEP_DTYPES.items()}
    steps["step"] += np.arange(first, first + num_steps)
    steps["loss"] += 0.1
    steps["loss_scale"][:] = np.nan
    shape = (num_steps, len(variables))
    numbers = np.arange(np.prod(shape), dtype=dtype).reshape(shape) + first
    values = {"grad_norm": numbers / 3, "nan_count": numbers.astype(np.int32)}
    return Segment(optimizer, variables, detached, steps, values)


def assert_same(read, written):
    assert len(read) == len(written)
    for one, other in zip(read, written, strict=True):
        assert one.key == other.key
        for arrays, expected in ((one.steps, other.steps), (one.values, other.values)):
            assert list(arrays) == list(expected)
            for name, array in arrays.items():
                assert array.dtype == expected[name].dtype
                np.testing.assert_array_equal(array, expected[name])


def raise_disk_full(*_, **__):
    raise OSError(28, "No space left on device")
