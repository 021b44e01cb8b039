import keras
import numpy as np
import pytest
import tensorflow as tf

from gradwatch.recording.buffer import CLOCK, HELD, LATCHED, Counters
from gradwatch.recording.guard import Guard
from gradwatch.recording.probe import read_call


def make(**options):
    clock = Counters(len(CLOCK))
    return clock, Guard(clock, **{"active": True, "latches": False, "max_streak": 2, **options})


def own_tap(tensor, late=None):
    return tensor


def update(guard, optimizer, variable, value):
    grads = [tf.constant([value])]
    call = read_call("optimizer", optimizer, grads, [variable], tap=own_tap, nested=False, compiled=False)
    guard.update(call, optimizer, grads, lambda grads: optimizer.apply(grads, [variable]))
    return call


@pytest.mark.parametrize(
    ("options", "grads", "weight", "latched"),
    [
        ({}, [1.0, np.nan, 1.0], -2.0, 0),
        ({"latches": True}, [1.0, np.nan, 1.0], -1.0, 1),
        ({}, [np.inf, np.inf, 1.0], -1.0, 0),
        ({}, [np.inf, np.inf, np.inf, 1.0], 0.0, 1),
        ({}, [np.inf, np.inf, 1.0, np.inf, np.inf, 1.0], -2.0, 0),
    ],
)
def test_what_passes_and_what_is_held_back(options, grads, weight, latched):
    clock, guard = make(**options)
    variable, optimizer = keras.Variable([0.0]), keras.optimizers.SGD(1.0)
    for grad in grads:
        update(guard, optimizer, variable, grad)
    assert variable.numpy().tolist() == [weight]
    assert int(clock[LATCHED]) == latched


def test_guard_that_is_not_active_lets_everything_pass():
    clock, guard = make(active=False)
    variable, optimizer = keras.Variable([0.0]), keras.optimizers.SGD(1.0)
    call = update(guard, optimizer, variable, np.nan)
    assert np.isnan(variable.numpy()).all()
    assert call.applied is None
    assert int(clock[HELD]) == 0
    assert guard.remember(keras.Sequential([keras.Input((2,)), keras.layers.BatchNormalization()])) is None


def test_start_lets_go():
    _, guard = make(latches=True)
    variable, optimizer = keras.Variable([0.0]), keras.optimizers.SGD(1.0)
    update(guard, optimizer, variable, np.nan)
    guard.start()
    update(guard, optimizer, variable, 1.0)
    assert variable.numpy().tolist() == [-1.0]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("value", [1.0, np.nan])
def test_put_back(compiled, value):
    clock, guard = make()
    model = keras.Sequential([keras.Input((1,)), keras.layers.BatchNormalization()])
    mean = model.layers[0].moving_mean
    variable = keras.Variable([0.0])
    untrained = guard.remember(model)
    mean.assign([7.0])
    update(guard, keras.optimizers.SGD(1.0), variable, value)
    guard.put_back(untrained, compiled=compiled)
    held = bool(np.isnan(value))
    assert mean.numpy().tolist() == [0.0 if held else 7.0]
    assert int(clock[HELD]) == held


def test_nothing_to_remember():
    _, guard = make()
    assert guard.remember(None) is None
    assert guard.remember(keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])) is None
