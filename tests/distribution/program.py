"""Trains on several replicas and prints what came out as JSON; run in processes of its own, see `rows`."""

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

BATCH = 16


def make_strategy():
    if "ports" in arguments:
        return tf.distribute.MultiWorkerMirroredStrategy()
    devices = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def fit(model, x, y, epochs, options):
    watch = None if options is None else gradwatch.GradientWatch(**options)
    callbacks = [] if watch is None else [watch]
    try:
        model.fit(x, y, batch_size=BATCH, epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks)
    except gradwatch.GradientError as error:
        return watch, error
    return watch, None


def loop(model, x, y, epochs, options):
    optimizer = model.optimizer

    def replica_step(batch):
        with tf.GradientTape() as tape:
            losses = keras.losses.sparse_categorical_crossentropy(batch[1], model(batch[0], training=True))
            loss = tf.reduce_sum(losses) / float(BATCH)
        grads = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(grads, model.trainable_variables)
        return loss

    @tf.function
    def step(batch):
        return strategy.reduce("SUM", strategy.run(replica_step, args=(batch,)), axis=None)

    with strategy.scope():
        optimizer.build(model.trainable_variables)
    data = strategy.experimental_distribute_dataset(tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH))
    watch = None if options is None else gradwatch.watch_train_step(step, model=model, optimizers=optimizer, **options)
    try:
        for epoch in range(epochs):
            if watch is not None:
                watch.epoch = epoch
            for batch in data:
                (watch or step)(batch)
    except gradwatch.GradientError as error:
        return watch, error
    return watch, None


def result_of(model, watch, error):
    result = {"state": [value.ravel().astype(float).tolist() for value in state(model)]}
    if watch is None:
        return result
    log = watch.log
    (segment,) = log.segments
    steps = log.steps()
    columns = ("step", "epoch", "batch", "optimizer", "applied")
    result |= {name: steps[name].tolist() for name in columns}
    result |= {name: segment.steps[name].tolist() for name in ("replica", "nonfinite_inputs", "loss")}
    result["variables"] = [info.path for info in log.variable_infos]
    result["norms"] = np.where(np.isfinite(norms := segment.values["grad_norm"]), norms, -1).tolist()
    if "update_norm" in segment.values:
        result["updates"] = segment.values["update_norm"].tolist()
    findings = watch.diagnosis.findings
    result["causes"] = [(f.rule, f.cause.kind, f.cause.op_type, len(f.variables)) for f in findings if f.cause]
    result["error"] = None if error is None else [type(error).__name__, error.step, str(error)]
    return result


def run(options, bad=False, sgd=False, cut=False, batches=4, epochs=2, **compile_args):
    """One run of the program.

    Args:
        options: Options of the watch; `None` runs unwatched.
        bad: Put a NaN into the third batch, in the half of the second replica.
        sgd: Train with plain SGD, which moves every weight by its rate times the gradient.
        cut: Round what the first layer makes, so that it has no gradient.
        batches: Number of batches in an epoch.
        epochs: Number of epochs.
        compile_args: For `compile`.
    """
    x, y = features(8)[: BATCH * batches], labels()[: BATCH * batches]
    if bad:
        x[41] = np.nan
    with strategy.scope():
        model, _ = mlp()
        if cut:
            first = model.layers[0]
            model = keras.Sequential([first, keras.layers.Lambda(lambda x: tf.round(x)), *model.layers[1:]])
        optimizer = keras.optimizers.SGD(0.5) if sgd else keras.optimizers.Adam(0.01)
        compile_args |= {"run_eagerly": arguments["run_eagerly"]}
        model.compile(optimizer, "sparse_categorical_crossentropy", **compile_args)
    train = loop if arguments["loop"] else fit
    try:
        watch, error = train(model, x, y, epochs, options)
    except NotImplementedError as refusal:
        return {"refused": str(refusal)}
    return result_of(model, watch, error)


strategy = make_strategy()
results = {name: run(**options) for name, options in arguments["runs"].items()}
sys.stdout.write("RESULT" + json.dumps(results))
