"""The image of docs/token_views.md, and the page it is from.

    python -m benchmarks.token_views [COMPONENTS]

Without components: planted susceptibilities, in seconds, to show what a page looks like. With them
(such as `heads`): those of the bundled model on its four domains, few tokens, few draws. Page and
runs go to `runs/token_views/`; started again, it goes on.
"""

from __future__ import annotations

import sys
from pathlib import Path

import xarray as xr
from tests.support_susceptibility import fake

from germ.report import figures, susceptibility_page
from germ.report.heatmap import heatmap
from germ.report.token_text import decoder
from germ.samplers import SGLD
from germ.zoo import bundled

ROOT = Path(__file__).parent.parent
RUNS = ROOT / "runs" / "token_views"
IMAGE = ROOT / "docs" / "images" / "token_views_heatmap.png"
EXAMPLES = 5


def measured(components: str) -> xr.Dataset:
    """Susceptibilities of components of the bundled model."""
    from germ.responding import susceptibility

    probes = {name: bundled.tokens(name, "heldout", 128)[:EXAMPLES] for name in bundled.domains()}
    found = susceptibility(
        bundled.model(), bundled.tokens("all", "train", 128), probes=probes,
        components=components, nbeta=30.0, localization=300.0, sampler=SGLD(1e-3),
        chains=4, draws=25, thin=4, warmup=20, batch_size=16, folder=RUNS,
        name="the bundled model, step 12,000", told=lambda name, _: print(name, flush=True),
    )  # fmt: skip
    return found.data


def planted() -> xr.Dataset:
    """Made up, with errors large enough that some of it is noise."""
    data = fake(8, bundled.domains(), tokens=620)
    wide = data.assign(
        standard_error=4 * data["standard_error"],
        standard_error_probe=60 * data["standard_error_probe"],
    )
    return wide.assign_attrs(model="nothing: planted susceptibilities")


def main(components: str = "") -> None:
    """Write the page and the image."""
    data = measured(components) if components else planted()
    print(susceptibility_page.write(data, RUNS, decoder(bundled.tokenizer())))
    chi, error = data["chi_probe"].values, data["standard_error_probe"].values
    spread = data["chi"].std("token").values
    names = data["component"].values.tolist(), data["probe"].values.tolist()
    print(figures.save(heatmap(chi, error, *names, spread), IMAGE))


if __name__ == "__main__":
    main(*sys.argv[1:])
