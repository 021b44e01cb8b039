"""Rows: what else is going on in the same fit."""

import contextlib
import pickle

import keras

from matrix.row import Row, features, identical_weights, labels, mlp


def _row(name, about, program, **kwargs):
    return Row(area="company", name=name, about=about, program=program, **kwargs)


def _beside(make):
    def program(run):
        return run.fit(run.compiled(mlp()), callbacks=[make(run)])

    return program


def _raising(error):
    class Stop(keras.callbacks.Callback):
        epoch = 0

        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

        def on_train_batch_end(self, batch, logs=None):
            if (self.epoch, batch) == (1, 1):
                raise error("stop")

    def program(run):
        model = run.compiled(mlp())
        with contextlib.suppress(error):
            run.fit(model, callbacks=[Stop()])
        return [] if run.spy else model.fit(features(6), labels(), verbose=0).history

    return program


def _kept(run):
    model = run.compiled(mlp())
    history = run.fit(model)
    if not run.spy:
        model.save(run.folder / "model.keras")
        for other in (
            keras.saving.load_model(run.folder / "model.keras"),
            pickle.loads(pickle.dumps(model)),
        ):
            assert identical_weights(model, other)
            other.fit(features(6), labels(), verbose=0)
        clone = keras.models.clone_model(model)
        clone.compile("sgd", model.loss)
        clone.fit(features(6), labels(), verbose=0)
        model.export(run.folder / "exported", verbose=False)
    return history


CALLBACKS = {
    "EarlyStopping": lambda run: keras.callbacks.EarlyStopping("loss", patience=5),
    "ModelCheckpoint": lambda run: keras.callbacks.ModelCheckpoint(
        run.folder / "{epoch}.weights.h5", save_weights_only=True
    ),
    "BackupAndRestore": lambda run: keras.callbacks.BackupAndRestore(run.folder / "backup", save_freq=2),
    "TensorBoard": lambda run: keras.callbacks.TensorBoard(run.folder / "logs", update_freq="batch", write_graph=False),
    "TerminateOnNaN": lambda run: keras.callbacks.TerminateOnNaN(),
    "ReduceLROnPlateau": lambda run: keras.callbacks.ReduceLROnPlateau("loss", patience=0, min_delta=10.0),
}


def _averaged(run):
    optimizer = run.optimizer(keras.optimizers.SGD, 0.1, use_ema=True)
    model = run.compiled(mlp(), optimizer)
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=False)
    return run.fit(model, callbacks=[swap])


STOPPED = tuple((epoch, batch, "optimizer") for epoch, batch in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)])

ROWS = (
    *(_row(name, f"beside `{name}`", _beside(make)) for name, make in CALLBACKS.items()),
    _row("SwapEMAWeights", "beside `SwapEMAWeights`", _averaged),
    _row(
        "exception",
        "an exception from another callback, and an unwatched fit after it",
        _raising(ValueError),
        calls=STOPPED,
        bad=3,
    ),
    _row(
        "Ctrl-C",
        "`KeyboardInterrupt`, and an unwatched fit after it",
        _raising(KeyboardInterrupt),
        calls=STOPPED,
        bad=3,
    ),
    _row("kept", "afterwards the model is saved, loaded, cloned, pickled and exported, and trains on", _kept),
)
