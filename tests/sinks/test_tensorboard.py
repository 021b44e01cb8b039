import io

import matplotlib.image
import numpy as np
import pytest
from programs import features
from tensorboard.backend.event_processing import plugin_event_accumulator
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util
from trackers import CHARTS, MANY, train, write_many

from gradwatch import GradientWarning, GradientWatch, sinks
from gradwatch.testing import synthetic_log

HISTOGRAM = "gradwatch/log10_grad_norm"


def read(path):
    reader = EventAccumulator(str(path), size_guidance={"scalars": 0, "tensors": 0, "images": 0})
    return reader.Reload()


def scalars(path, tag):
    return {event.step: event.value for event in read(path).Scalars(tag)}


def tags(path):
    return set(read(path).Tags()["scalars"])


def histograms(path):
    return {e.step: tensor_util.make_ndarray(e.tensor_proto) for e in read(path).Tensors(HISTOGRAM)}


def test_is_a_sink(tmp_path):
    assert isinstance(sinks.TensorBoardSink(tmp_path), sinks.Sink)


def test_fit(tmp_path):
    watch = GradientWatch(sinks=[sinks.TensorBoardSink(tmp_path)])
    train(watch)
    assert tags(tmp_path) == CHARTS
    steps = watch.log.steps().set_index("step")
    for tag, column in (("loss", "loss"), ("learning_rate", "learning_rate"), ("global_norm", "global_norm")):
        drawn = scalars(tmp_path, f"gradwatch/{tag}")
        assert list(drawn) == list(range(10))
        np.testing.assert_allclose(list(drawn.values()), steps[column], rtol=1e-6)
    layer = watch.log.layers().query("layer == 'net/head'")["grad_norm"]
    np.testing.assert_allclose(
        list(scalars(tmp_path, "gradwatch_layers/net/head/grad_norm").values()), layer, rtol=1e-6
    )
    variable = watch.log.wide("grad_norm")["net/head/bias"]
    drawn = scalars(tmp_path, "gradwatch_variables/net/head/bias/grad_norm")
    np.testing.assert_allclose(list(drawn.values()), variable, rtol=1e-6)
    (image,) = read(tmp_path).Images("gradwatch/overview")
    assert image.step == 9
    pixels = matplotlib.image.imread(io.BytesIO(image.encoded_image_string), format="png")
    assert pixels.shape[:2] == (image.height, image.width)
    assert image.width > 800
    assert pixels.std() > 0.05  # not a blank page


def test_histograms_are_of_the_norms_in_decades(tmp_path):
    sink = sinks.TensorBoardSink(tmp_path)
    norms = {"dense/kernel": 1e-3, "dense/bias": 1e-3, "head/kernel": 10.0, "head/bias": [0.0, np.nan]}
    log = synthetic_log(num_steps=2, grad_norm=norms)
    sink.write(log.segments, log.variable_infos, log.info)
    sink.close()
    found = histograms(tmp_path)
    assert list(found) == [0, 1]
    for buckets in found.values():  # [buckets, 3]: left, right, count
        assert buckets[0, 0] == pytest.approx(-3)
        assert buckets[-1, 1] == pytest.approx(1)
        assert buckets[:, 2].tolist() == [2, *[0] * 28, 1]


def test_nothing_to_spread_is_no_histogram(tmp_path):
    sink = sinks.TensorBoardSink(tmp_path)
    log = synthetic_log(num_steps=2, grad_norm=[0.0, np.inf])
    sink.write(log.segments, log.variable_infos, log.info)
    sink.close()
    assert HISTOGRAM not in read(tmp_path).Tags()["tensors"]


def test_300_variables_are_few_charts(tmp_path):
    sink = sinks.TensorBoardSink(tmp_path)
    write_many(sink, grad_norm={"dense_3/kernel": 50.0})
    sink.close()
    assert len(tags(tmp_path)) <= 70
    assert len([tag for tag in tags(tmp_path) if tag.startswith("gradwatch_variables")]) == 10
    chart = "gradwatch_variables/dense_3/kernel/grad_norm"
    assert list(scalars(tmp_path, chart)) == list(range(60))
    served = plugin_event_accumulator.EventAccumulator(str(tmp_path), size_guidance={"tensors": 0}).Reload()
    assert [event.step for event in served.Tensors(chart)] == list(range(60))  # by this the front end reads


def test_all_variables_if_asked(tmp_path):
    sink = sinks.TensorBoardSink(tmp_path, variables="all")
    log = synthetic_log(num_steps=2, variables=MANY)
    sink.write(log.segments, log.variable_infos, log.info)
    sink.close()
    assert len([tag for tag in tags(tmp_path) if tag.startswith("gradwatch_variables")]) == 300


def test_what_was_flushed_is_on_disk(tmp_path):
    sink = sinks.TensorBoardSink(tmp_path)
    log = synthetic_log(num_steps=3)
    sink.write(log.segments, log.variable_infos, log.info)
    sink.flush()
    assert list(scalars(tmp_path, "gradwatch/loss")) == [0, 1, 2]
    sink.close()


def test_bad_steps_are_drawn(tmp_path):
    x = features(8)
    x[32:48] = np.nan
    watch = GradientWatch(sinks=[sinks.TensorBoardSink(tmp_path)], on_nonfinite="skip")
    with pytest.warns(GradientWarning):
        train(watch, x=x, epochs=1)
    assert list(scalars(tmp_path, "gradwatch/nan_count")) == [2]
    norms = scalars(tmp_path, "gradwatch_layers/net/hidden/grad_norm")  # some CPUs make 0 of the ReLU of NaN
    assert np.isnan(list(norms.values())).tolist() == [False, False, True, False, False]


def test_a_watch_that_records_nothing_leaves_nothing(tmp_path):
    sink = sinks.TensorBoardSink(tmp_path / "run")
    sink.flush()
    sink.close()
    sink.close()
    assert not (tmp_path / "run").exists()


def test_closed_is_closed(tmp_path):
    sink = sinks.TensorBoardSink(tmp_path)
    log = synthetic_log(num_steps=1)
    sink.write(log.segments, log.variable_infos, log.info)
    sink.close()
    sink.close()
    with pytest.raises(ValueError, match="closed"):
        sink.write(log.segments, log.variable_infos, log.info)


def test_failure_stops_no_training(tmp_path):
    (tmp_path / "file").touch()
    watch = GradientWatch(sinks=[sinks.TensorBoardSink(tmp_path / "file")])
    with pytest.warns(GradientWarning, match="stops writing to TensorBoardSink") as warned:
        assert train(watch) == 10
    assert len(warned) == 1
    assert watch.log.num_steps == 10
