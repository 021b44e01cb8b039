import sys
import traceback

import pytest

from gradwatch.running import traces


@pytest.fixture
def shown(monkeypatch):
    """What reaches the excepthook."""
    seen = []
    monkeypatch.setattr(sys, "excepthook", lambda *args: seen.append(args))
    return seen


def names(error):
    return [frame.name for frame in traceback.extract_tb(error.__traceback__)]


def called_from(module, function):
    """Calls a function from one that stands in a module of that name."""
    scope = {"__name__": module, "function": function}
    exec(f"def {module.replace('.', '_')}():\n    return function()", scope)
    return scope[module.replace(".", "_")]


def fails():
    raise ValueError("wrong")


def raised_by(function):
    with pytest.raises((ValueError, RuntimeError)) as caught:
        function()
    return caught.value


def test_what_stands_above_and_between_is_left_out(shown):
    own = called_from("__main__", called_from("gradwatch.running.fits", called_from("keras.model", fails)))
    error = raised_by(called_from("gradwatch.cli", called_from("runpy", own)))
    error.__traceback__ = error.__traceback__.tb_next.tb_next  # less the test itself
    traces.show(error)
    assert names(error) == ["__main__", "keras_model", "fails"]
    assert shown == [(ValueError, error, error.__traceback__)]


def test_also_where_it_came_from(shown):
    def wraps():
        try:
            called_from("gradwatch.running.fits", fails)()
        except ValueError as error:
            raise RuntimeError from error

    error = raised_by(called_from("script", wraps))
    traces.show(error)
    assert names(error.__cause__) == ["wraps", "fails"]


def test_an_error_without_a_line_of_the_program(shown):
    error = raised_by(called_from("runpy", fails))
    error.__traceback__ = None
    traces.show(error)
    assert names(error) == []
