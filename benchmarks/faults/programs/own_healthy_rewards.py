"""Healthy trainings with a loss of their own: adversaries, a variational bound, contrast, rewards, sparse ratings."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from benchmarks.faults.program import HEALTHY, Program, Run
from benchmarks.faults.programs import own_data, own_measures
from benchmarks.faults.symptoms import gain


class Adversaries(keras.Model):
    """A generator of points and a discriminator, each with its optimizer."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seeds = keras.random.SeedGenerator(seed)
        slope = {"negative_slope": 0.2}
        self.generator = keras.Sequential(
            [
                keras.Input((4,)),
                layers.Dense(24, name="shape"),
                layers.LeakyReLU(**slope),
                layers.Dense(2, name="point"),
            ]
        )
        self.discriminator = keras.Sequential(
            [keras.Input((2,)), layers.Dense(24, name="look"), layers.LeakyReLU(**slope), layers.Dense(1, name="doubt")]
        )

    def compile(self, generator_optimizer: Any, discriminator_optimizer: Any) -> None:
        """Takes both optimizers."""
        super().compile(jit_compile=False)
        self.generator_optimizer, self.discriminator_optimizer = generator_optimizer, discriminator_optimizer
        self.cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True)

    def call(self, noise: Any) -> Any:
        """Returns points made from noise."""
        return self.generator(noise)

    def train_step(self, data: Any) -> dict[str, Any]:
        """Trains the discriminator, then the generator."""
        real = keras.utils.unpack_x_y_sample_weight(data)[0]
        noise = keras.random.normal((ops.shape(real)[0], 4), seed=self.seeds)
        with tf.GradientTape() as tape:
            doubts, praise = self.discriminator(self.generator(noise)), self.discriminator(real)
            caught = self.cross_entropy(ops.zeros_like(doubts), doubts)
            discriminator_loss = caught + self.cross_entropy(ops.ones_like(praise), praise)
        variables = self.discriminator.trainable_variables
        self.discriminator_optimizer.apply(tape.gradient(discriminator_loss, variables), variables)
        with tf.GradientTape() as tape:
            doubts = self.discriminator(self.generator(noise))
            generator_loss = self.cross_entropy(ops.ones_like(doubts), doubts)
        variables = self.generator.trainable_variables
        self.generator_optimizer.apply(tape.gradient(generator_loss, variables), variables)
        return {"discriminator_loss": discriminator_loss, "generator_loss": generator_loss}


def train_adversaries(run: Run) -> None:
    """Learns to make points like those of a cloud."""
    x = own_data.points(run.rng, 2048)
    model = Adversaries(run.seed)
    model(np.zeros((1, 4), "float32"))
    model.discriminator(x[:1])
    model.compile(keras.optimizers.Adam(2e-3, beta_1=0.5), keras.optimizers.Adam(2e-3, beta_1=0.5))
    run.fit(model, x, epochs=12, batch_size=64)


def adversaries_learn(run: Run) -> bool:
    """Made points lie where the real ones do, and far nearer than before training."""
    noise = np.random.default_rng(99).normal(size=(2000, 4)).astype("float32")
    real = own_data.points(np.random.default_rng(98), 2000)
    with own_measures.first_weights(run):
        before = np.linalg.norm(own_measures.outputs(run, noise).mean(axis=0) - real.mean(axis=0))
    made = own_measures.outputs(run, noise)
    distance = np.linalg.norm(made.mean(axis=0) - real.mean(axis=0))
    spread = made.std(axis=0) / real.std(axis=0)
    return bool(distance < 0.7 and distance < before / 3 and (spread > 0.25).all() and (spread < 3).all())


class Sampling(layers.Layer):
    """A code drawn from its mean and log variance; adds its divergence from a standard normal to the loss."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.seeds = keras.random.SeedGenerator(7)

    def call(self, mean: Any, log_variance: Any) -> Any:
        """Draws a code."""
        divergence = ops.sum(ops.square(mean) + ops.exp(log_variance) - log_variance - 1.0, axis=-1)
        self.add_loss(0.5 * ops.mean(divergence))
        return mean + ops.exp(0.5 * log_variance) * keras.random.normal(ops.shape(mean), seed=self.seeds)


def pixel_entropy(y: Any, predicted: Any) -> Any:
    """Cross-entropy summed over the pixels of a row."""
    predicted = ops.clip(predicted, 1e-6, 1.0 - 1e-6)
    return -ops.sum(y * ops.log(predicted) + (1.0 - y) * ops.log(1.0 - predicted), axis=-1)


def train_variational(run: Run) -> None:
    """Codes digits by 4 numbers."""
    x, _ = own_data.digit_rows()
    pixels = keras.Input((64,))
    hidden = layers.Dense(48, "elu", name="encoder")(pixels)
    code = Sampling(name="code")(
        layers.Dense(4, name="mean")(hidden), layers.Dense(4, name="log_variance", kernel_initializer="zeros")(hidden)
    )
    hidden = layers.Dense(48, "elu", name="decoder")(code)
    model = keras.Model(pixels, layers.Dense(64, "sigmoid", name="pixels")(hidden))
    model.compile(keras.optimizers.Adam(3e-3), pixel_entropy, jit_compile=False)
    run.fit(model, x, x, epochs=10, batch_size=32)


def variational_learns(run: Run) -> bool:
    """It gives digits back better than their mean would."""
    x, _ = own_data.digit_rows()
    error = np.square(own_measures.outputs(run, x) - x).mean()
    return run.losses[-1] < run.losses[0] - 4.0 and bool(error < 0.75 * x.var(axis=0).mean())


class Contrast(keras.Model):
    """An encoder that shall see two noisy views of an image as the same and all other images as different."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seeds = keras.random.SeedGenerator(seed)
        self.encoder = keras.Sequential(
            [keras.Input((64,)), layers.Dense(64, "relu", name="look"), layers.Dense(16, name="project")]
        )
        self.mean_loss = keras.metrics.Mean(name="loss")

    @property
    def metrics(self) -> list[Any]:
        """The mean loss alone: Keras' own one would stay at 0."""
        return [self.mean_loss]

    def call(self, x: Any) -> Any:
        """Returns directions."""
        return ops.normalize(self.encoder(x), axis=-1)

    def train_step(self, data: Any) -> dict[str, Any]:
        """Compares all views of the batch with all others."""
        x = keras.utils.unpack_x_y_sample_weight(data)[0]
        with tf.GradientTape() as tape:
            first, second = (self(x + 0.2 * keras.random.normal(ops.shape(x), seed=self.seeds)) for _ in range(2))
            views = ops.concatenate([first, second], axis=0)
            count = ops.shape(x)[0]
            alike = ops.matmul(views, ops.transpose(views)) / 0.2 - 1e9 * ops.eye(2 * count)
            partners = ops.concatenate([ops.arange(count) + count, ops.arange(count)], axis=0)
            loss = ops.mean(keras.losses.sparse_categorical_crossentropy(partners, alike, from_logits=True))
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        self.mean_loss.update_state(loss)
        return {"loss": self.mean_loss.result()}


def train_contrast(run: Run) -> None:
    """Learns digits without their classes."""
    x, _ = own_data.digit_rows()
    model = Contrast(run.seed)
    model(x[:1])
    model.compile(keras.optimizers.Adam(3e-3), jit_compile=False)
    run.fit(model, x, epochs=10, batch_size=64)


def contrast_learns(run: Run) -> bool:
    """The loss fell, and two noisy views of a digit are its nearest neighbours far more often than before."""
    x, _ = own_data.digit_rows(400)
    views = [x + 0.2 * np.random.default_rng(seed).normal(size=x.shape).astype("float32") for seed in (98, 99)]

    def found() -> float:
        first, second = (own_measures.outputs(run, view) for view in views)
        return float(((first @ second.T).argmax(axis=1) == np.arange(len(x))).mean())

    with own_measures.first_weights(run):
        before = found()
    return gain(run) > 0.25 and found() > before + 0.15


class Policy(keras.Model):
    """A policy of a bandit that is trained by REINFORCE: the log-probability of an arm times what it paid."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seeds = keras.random.SeedGenerator(seed)
        self.hidden = layers.Dense(16, "tanh", name="hidden")
        self.arms = layers.Dense(own_data.ARMS, name="arms")

    def call(self, contexts: Any) -> Any:
        """Returns the logits of the arms."""
        return self.arms(self.hidden(contexts))

    def train_step(self, data: Any) -> dict[str, Any]:
        """Pulls an arm for each context and makes it likelier by what it paid."""
        contexts, paid = data
        with tf.GradientTape() as tape:
            logits = self(contexts, training=True)
            chosen = keras.random.categorical(logits, 1, seed=self.seeds)[:, 0]
            rewards = ops.sum(paid * ops.one_hot(chosen, own_data.ARMS), axis=-1)
            surprise = keras.losses.sparse_categorical_crossentropy(chosen, logits, from_logits=True)
            loss = ops.mean(surprise * (rewards - ops.mean(rewards)))
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        return {"loss": loss, "reward": ops.mean(rewards)}


def train_policy(run: Run) -> None:
    """Learns which arm pays best in which context."""
    contexts, paid = own_data.payoffs(run.rng, 3200)
    model = Policy(run.seed)
    model(contexts[:1])
    model.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
    run.fit(model, contexts, paid, epochs=6, batch_size=64)


def policy_learns(run: Run) -> bool:
    """The policy earns much more than its first weights would, and next to the best of 1."""

    def earns() -> float:
        logits = own_measures.outputs(run, np.eye(own_data.CONTEXTS, dtype="float32"))
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        odds /= odds.sum(axis=1, keepdims=True)
        return float((odds * np.eye(own_data.ARMS)[np.arange(own_data.CONTEXTS) % own_data.ARMS]).sum(axis=1).mean())

    with own_measures.first_weights(run):
        before = earns()
    return before < 0.5 and earns() > 0.75


def train_ratings(run: Run) -> None:
    """Learns tastes of users and traits of items from ratings."""
    users, items, ratings = own_data.noisy_ratings(run.rng)
    user, item = keras.Input((1,), dtype="int32"), keras.Input((1,), dtype="int32")
    taste = layers.Flatten()(layers.Embedding(own_data.USERS, 8, name="tastes")(user))
    trait = layers.Flatten()(layers.Embedding(own_data.ITEMS, 8, name="traits")(item))
    model = keras.Model([user, item], layers.Dense(1, name="rating")(layers.Multiply()([taste, trait])))
    model.compile(keras.optimizers.Adam(1e-2), "mse", jit_compile=False)
    run.fit(model, [users, items], ratings, epochs=8, batch_size=64)


PROGRAMS: tuple[Program, ...] = (
    Program(
        name="adversaries_points",
        kind=HEALTHY,
        about="A GAN learns a cloud of points; the losses of its two optimizers rise and fall, and should.",
        train=train_adversaries,
        symptom=adversaries_learn,
    ),
    Program(
        name="variational_digits",
        kind=HEALTHY,
        about="A variational autoencoder adds a divergence to the loss of its pixels; its log variance starts at 0.",
        train=train_variational,
        symptom=variational_learns,
        held_back=True,
    ),
    Program(
        name="contrast_digits",
        kind=HEALTHY,
        about="A contrastive loss over the batch, masked by -1e9 on the diagonal, learns digits without classes.",
        train=train_contrast,
        symptom=contrast_learns,
        expect=("DeadUnits",),  # a tenth to a fifth of its units are dead indeed
    ),
    Program(
        name="policy_gradient_bandit",
        kind=HEALTHY,
        about="REINFORCE on a bandit with contexts: the loss is noise around 0 that never falls; rewards rise.",
        train=train_policy,
        symptom=policy_learns,
        held_back=True,
    ),
    Program(
        name="ratings_two_embeddings",
        kind=HEALTHY,
        about="Two embeddings with sparse gradients; most rows have none in most steps, unpopular items rarely any.",
        train=train_ratings,
        symptom=lambda run: gain(run) > 0.6,
        held_back=True,
    ),
)
