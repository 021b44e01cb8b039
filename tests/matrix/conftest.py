import gc

import pytest


@pytest.fixture(scope="session", autouse=True)
def _quick_collections():
    """`clear_session` collects garbage before each of some hundred runs; what was imported never is any."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
