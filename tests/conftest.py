"""What every test runs under: one thread, no network, annotated shapes checked, honest skips."""

import os

# Set before anything imports them: tests never reach the network and never open a window.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["MPLBACKEND"] = "Agg"

import importlib.util

import jaxtyping
import pytest
import torch

# Floating-point sums depend on the number of threads: one thread makes "same bits" meaningful,
# and lets pytest-xdist use a core per process.
torch.set_num_threads(1)

# From here on every annotation of germ is checked at run time: jaxtyping sees shapes and dtypes,
# beartype all the rest. Only pytest switches this on; GERM_CHECK_TYPES=0 leaves it out.
if os.environ.get("GERM_CHECK_TYPES", "1") != "0":
    jaxtyping.install_import_hook("germ", "beartype.beartype")

REQUIRE_ALL = os.environ.get("GERM_REQUIRE_ALL") == "1"
HF_PACKAGES = ("transformers", "datasets", "accelerate", "gguf")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests of absent hardware; skip those of an absent extra."""
    if not torch.cuda.is_available():
        absent = [item for item in items if item.get_closest_marker("gpu")]
        if absent:
            config.hook.pytest_deselected(items=absent)
            items[:] = [item for item in items if not item.get_closest_marker("gpu")]
    missing = [name for name in HF_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        skip = pytest.mark.skip(reason=f"needs the hf extra: {', '.join(missing)} not installed")
        for item in items:
            if item.get_closest_marker("hf"):
                item.add_marker(skip)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """With GERM_REQUIRE_ALL=1 a skipped test has failed; an expected failure has not."""
    report = yield
    if REQUIRE_ALL and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"GERM_REQUIRE_ALL=1 and this test was skipped: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    """With GERM_REQUIRE_ALL=1 a module that skips itself (importorskip) has failed too."""
    report = yield
    if REQUIRE_ALL and report.outcome == "skipped":
        report.outcome = "failed"
        report.longrepr = f"GERM_REQUIRE_ALL=1 and this was skipped: {report.longrepr}"
    return report
