"""What the tests of sinks that draw share: runs to draw."""

import keras
from programs import features, labels

from gradwatch.testing import synthetic_log

MANY = {f"dense_{number}/{name}": (4,) for number in range(150) for name in ("kernel", "bias")}


def model():
    keras.utils.set_random_seed(0)
    net = keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(6, activation="relu", name="hidden"),
            keras.layers.Dense(4, activation="softmax", name="head"),
        ],
        name="net",
    )
    net.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    return net


class Counter(keras.callbacks.Callback):
    """Counts the batches of a run, to see that training went on."""

    num_batches = 0

    def on_train_batch_end(self, batch, logs=None):
        self.num_batches += 1


def train(watch, *, epochs=2, x=None, net=None):
    """Trains for five steps an epoch and returns how many there were."""
    counter = Counter()
    callbacks = [watch, counter]
    data = features(8) if x is None else x
    net = net or model()
    net.fit(data, labels(), epochs=epochs, batch_size=16, verbose=0, shuffle=False, callbacks=callbacks)
    return counter.num_batches


def write_many(sink, **values):
    """Writes 60 steps of 300 variables in two parts."""
    log = synthetic_log(num_steps=60, variables=MANY, **values)
    for rows in (slice(0, 1), slice(1, 60)):
        sink.write([log.segments[0].take(rows)], log.variable_infos, log.info)
        sink.flush()
    return log


CHARTS = {
    "gradwatch/loss",
    "gradwatch/learning_rate",
    "gradwatch/global_norm",
    "gradwatch_layers/net/hidden/grad_norm",
    "gradwatch_layers/net/head/grad_norm",
    "gradwatch_variables/net/hidden/kernel/grad_norm",
    "gradwatch_variables/net/hidden/bias/grad_norm",
    "gradwatch_variables/net/head/kernel/grad_norm",
    "gradwatch_variables/net/head/bias/grad_norm",
}
