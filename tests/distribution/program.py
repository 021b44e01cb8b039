"""Trains on several replicas and prints what came out as JSON; run in processes of its own by `test_replicas`."""

import json
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
arguments = json.loads(sys.argv[1])
if "ports" in arguments:
    cluster = {"worker": [f"127.0.0.1:{port}" for port in arguments["ports"]]}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": arguments["task"]}})
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from programs import features, labels, mlp, state  # noqa: E402

import gradwatch  # noqa: E402

if "ports" in arguments:
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
else:
    devices = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

x, y = features(8)[:64], labels()[:64]
if arguments.get("bad"):
    x[41] = np.nan  # in the third batch, the half of the second replica
with strategy.scope():
    model, _ = mlp()
    optimizer = keras.optimizers.SGD(0.5) if arguments.get("sgd") else keras.optimizers.Adam(0.01)
    model.compile(optimizer, "sparse_categorical_crossentropy", run_eagerly=arguments.get("eager", False))
options = arguments["options"]


def fit():
    watch = None if options is None else gradwatch.GradientWatch(**options)
    callbacks = [] if watch is None else [watch]
    try:
        model.fit(x, y, batch_size=16, epochs=2, shuffle=False, verbose=0, callbacks=callbacks)
    except gradwatch.GradientError as error:
        return watch, error
    return watch, None


def loop():
    def replica_step(batch):
        with tf.GradientTape() as tape:
            losses = keras.losses.sparse_categorical_crossentropy(batch[1], model(batch[0], training=True))
            loss = tf.reduce_sum(losses) / 16.0
        grads = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(grads, model.trainable_variables)
        return loss

    @tf.function
    def step(batch):
        return strategy.reduce("SUM", strategy.run(replica_step, args=(batch,)), axis=None)

    with strategy.scope():
        optimizer.build(model.trainable_variables)
    data = strategy.experimental_distribute_dataset(tf.data.Dataset.from_tensor_slices((x, y)).batch(16))
    watch = None if options is None else gradwatch.watch_train_step(step, model=model, optimizers=optimizer, **options)
    try:
        for _ in range(2):
            for batch in data:
                (watch or step)(batch)
    except gradwatch.GradientError as error:
        return watch, error
    return watch, None


watch, error = loop() if arguments.get("loop") else fit()
result = {"state": [value.ravel().astype(float).tolist() for value in state(model)]}
if watch is not None:
    segment = watch.log.segments[0]
    result |= {
        name: segment.steps[name].tolist() for name in ("step", "applied", "replica", "nonfinite_inputs", "loss")
    }
    result["variables"] = len(watch.log.variable_infos)
    result["norms"] = np.where(np.isfinite(norms := segment.values["grad_norm"]), norms, -1).tolist()
    if "update_norm" in segment.values:
        result["updates"] = segment.values["update_norm"].tolist()
    result["error"] = None if error is None else [type(error).__name__, error.step, str(error)]
sys.stdout.write("RESULT" + json.dumps(result))
