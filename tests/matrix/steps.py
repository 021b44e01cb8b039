"""Rows: steps of the user's own, in `fit` and outside of it."""

import keras
import tensorflow as tf

from matrix.row import Row, Traced, calls_of, features, labels, mlp

layers = keras.layers
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def _row(name, about, program, **kwargs):
    return Row(area="steps", name=name, about=about, program=program, **kwargs)


class _Own(keras.Model):
    """An MLP with a `train_step` that is given."""

    def __init__(self, run, step):
        super().__init__(name="own")
        self.inner = mlp()
        self.run, self.step = run, step

    def call(self, x):
        return self.inner(x)

    def train_step(self, data):
        x, y = data
        return {"loss": self.step(self, x, y)}

    def update(self, x, y):
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True))
        variables = self.trainable_variables
        grads = self.run.given(self.optimizer, tape.gradient(loss, variables), variables)
        self.optimizer.apply(grads, variables)
        return loss


def _own(step, **compile_args):
    def program(run):
        model = _Own(run, step)
        model.build((None, 6))
        run.compiled(model, **compile_args)
        model.optimizer.build(model.trainable_variables)
        return run.fit(model)

    return program


def _plainly(model, x, y):
    return model.update(x, y)


def _without_variables(model, x, y):
    with tf.GradientTape() as tape:
        loss = model.compute_loss(x, y, model(x, training=True))
    variables = model.trainable_variables
    model.optimizer.apply(model.run.given(model.optimizer, tape.gradient(loss, variables), variables))
    return loss


def _in_a_cond(model, x, y):
    return tf.cond(tf.equal(tf.shape(x)[0], 8), lambda: model.update(x, y), lambda: tf.constant(0.0))


def _in_a_loop(model, x, y):
    first = (tf.constant(0), tf.constant(0.0))
    return tf.while_loop(lambda turn, _: turn < 2, lambda turn, _: (turn + 1, model.update(x, y)), first)[1]


def _in_a_function(model, x, y):
    if not hasattr(model, "inner_function"):
        model.inner_function = tf.function(model.update)
    return model.inner_function(x, y)


def _noisy(model, x, y):
    model.update(x, y)
    return model.update(x + tf.random.normal(tf.shape(x)), y)


class _GAN(keras.Model):
    def __init__(self, run, critic_steps, penalty):
        super().__init__(name="gan")
        self.run, self.critic_steps, self.penalty = run, critic_steps, penalty
        self.generator = keras.Sequential([keras.Input((2,)), Traced(), layers.Dense(6, name="make")], name="generator")
        self.critic = keras.Sequential(
            [keras.Input((6,)), layers.Dense(4, activation="tanh", name="look"), layers.Dense(1, name="judge")],
            name="critic",
        )
        self.seeds = keras.random.SeedGenerator(1)
        self.built = True

    def compile(self, d_optimizer, g_optimizer):
        super().compile()
        self.d_optimizer, self.g_optimizer = d_optimizer, g_optimizer
        d_optimizer.build(self.critic.trainable_variables)
        g_optimizer.build(self.generator.trainable_variables)

    def train_step(self, real):
        for _ in range(self.critic_steps):
            d_loss = self.train_critic(real)
        with tf.GradientTape() as tape:
            g_loss = -tf.reduce_mean(self.critic(self.generator(self.noise(real))))
        self.apply(self.g_optimizer, tape.gradient(g_loss, self.generator.trainable_variables), self.generator)
        return {"d_loss": d_loss, "g_loss": g_loss}

    def train_critic(self, real):
        made = self.generator(self.noise(real))
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(self.critic(made)) - tf.reduce_mean(self.critic(real))
            if self.penalty:
                with tf.GradientTape() as inner:
                    inner.watch(made)
                    judged = self.critic(made)
                norms = tf.norm(inner.gradient(judged, made), axis=-1)
                loss += 10.0 * tf.reduce_mean((norms - 1.0) ** 2)
        variables = self.critic.trainable_variables
        grads = tape.gradient(loss, variables, unconnected_gradients="zero")
        self.apply(self.d_optimizer, grads, self.critic)
        return loss

    def noise(self, real):
        return keras.random.normal((8, 2), seed=self.seeds)

    def apply(self, optimizer, grads, model):
        variables = model.trainable_variables
        optimizer.apply(self.run.given(optimizer, grads, variables), variables)


def _gan(critic_steps=1, penalty=False, **fit_args):
    def program(run):
        model = run.keep(_GAN(run, critic_steps, penalty))
        model.compile(
            d_optimizer=run.optimizer(keras.optimizers.Adam, 0.01),
            g_optimizer=run.optimizer(keras.optimizers.RMSprop, 0.01),
        )
        data = tf.data.Dataset.from_tensor_slices(features(6, rows=24)).batch(8, drop_remainder=True)
        return run.fit(model, data)

    return program


class _Sampling(layers.Layer):
    def __init__(self):
        super().__init__()
        self.seeds = keras.random.SeedGenerator(3)

    def call(self, inputs):
        mean, log_var = inputs
        self.add_loss(-0.5 * keras.ops.mean(1 + log_var - mean**2 - keras.ops.exp(log_var)))
        return mean + keras.ops.exp(0.5 * log_var) * keras.random.normal(keras.ops.shape(mean), seed=self.seeds)


def _vae(run):
    inputs = keras.Input((6,))
    hidden = layers.Dense(4, activation="tanh", name="encoder")(Traced()(inputs))
    code = _Sampling()([layers.Dense(2, name="mean")(hidden), layers.Dense(2, name="log_var")(hidden)])
    model = keras.Model(inputs, layers.Dense(6, name="decoder")(code))
    x = features(6)
    return run.fit(run.compiled(model, run.optimizer(keras.optimizers.Adam, 0.01), "mse"), x, x)


class _Distiller(keras.Model):
    def __init__(self, run):
        super().__init__(name="distiller")
        self.run, self.teacher, self.student = run, mlp(), mlp()
        self.built = True

    def train_step(self, data):
        x, y = data
        taught = self.teacher(x, training=False)
        with tf.GradientTape() as tape:
            given = self.student(x, training=True)
            loss = LOSS(y, given) + tf.reduce_mean((taught - given) ** 2)
        variables = self.student.trainable_variables
        self.optimizer.apply(self.run.given(self.optimizer, tape.gradient(loss, variables), variables), variables)
        return {"loss": loss}


def _distillation(run):
    model = run.keep(_Distiller(run))
    model.compile(run.optimizer(keras.optimizers.Adam, 0.01))
    model.optimizer.build(model.student.trainable_variables)
    return run.fit(model)


def _loop(wrap):
    def program(run):
        model = run.keep(mlp())
        optimizer = run.optimizer(keras.optimizers.Adam, 0.01)
        optimizer.build(model.trainable_variables)

        def step(x, y):
            with tf.GradientTape() as tape:
                loss = LOSS(y, model(x, training=True))
            variables = model.trainable_variables
            optimizer.apply(run.given(optimizer, tape.gradient(loss, variables), variables), variables)
            return loss

        step = run.watched(wrap(step), model=model, optimizers={"optimizer": optimizer})
        losses = []
        for epoch in range(2):
            if run.watch:
                step.epoch = epoch
            data = tf.data.Dataset.from_tensor_slices((features(6), labels())).batch(8)
            losses += [float(step(x, y)) for x, y in data]
        if run.watch:
            step.close()
        return losses

    return program


TWICE = ("optimizer", "optimizer")

ROWS = (
    _row("train_step", "a `train_step` of one's own", _own(_plainly)),
    _row("train_step, eagerly", "the same with `run_eagerly`", _own(_plainly, run_eagerly=True)),
    _row("apply without variables", "`optimizer.apply(grads)`", _own(_without_variables)),
    _row("GAN", "two optimizers, one call of each", _gan(), calls=calls_of(optimizers=("d_optimizer", "g_optimizer"))),
    _row(
        "WGAN-GP",
        "one optimizer twice a step, a gradient penalty with nested tapes",
        _gan(critic_steps=2, penalty=True),
        calls=calls_of(optimizers=("d_optimizer", "d_optimizer", "g_optimizer")),
    ),
    _row("VAE", "`add_loss`, and a layer with random numbers", _vae),
    _row(
        "distillation",
        "a teacher inside the model that is used, not trained: no alarm",
        _distillation,
    ),
    _row("tf.cond", "`apply` inside of a `tf.cond`", _own(_in_a_cond), calls=calls_of(batches=2), bad=2),
    _row(
        "tf.while_loop",
        "`apply` inside of a `tf.while_loop`, twice a step",
        _own(_in_a_loop),
        calls=calls_of(optimizers=TWICE),
    ),
    _row("inner tf.function", "`apply` inside of a `tf.function` that the step calls", _own(_in_a_function)),
    _row(
        "tf.random",
        "`tf.random.normal` without a seed, drawn after an update",
        _own(_noisy),
        calls=calls_of(optimizers=TWICE),
    ),
    _row("loop", "a loop of one's own, eager, through `watch_train_step`", _loop(lambda step: step)),
    _row("loop, tf.function", "the same with `@tf.function`", _loop(tf.function)),
    _row(
        "loop, XLA", "the same with `@tf.function(jit_compile=True)`", _loop(lambda s: tf.function(s, jit_compile=True))
    ),
)
