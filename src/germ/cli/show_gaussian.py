"""What `germ show` says of a component's susceptibilities by weighted draws, which is no run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

METHOD = "gaussian"


def summary(path: Path) -> dict[str, Any] | None:
    """What is stored there; None where it is something else.

    Args:
        path: A folder `NAME.zarr`.
    """
    from germ.store import datasets

    try:
        about = json.loads((path / "zarr.json").read_text(encoding="utf-8"))
        if about.get("attributes", {}).get("method") != METHOD:
            return None
        data = datasets.read(path)
        attrs = data.attrs
        return {
            "method": METHOD,
            "llc": float(data["response_llc"]),
            "standard_error": float(data["response_llc_error"]),
            "num_draws": int(attrs["num_draws"]),
            "share": float(attrs["share"]),
            "nbeta": float(attrs["nbeta"]),
            "localization": float(attrs["localization"]),
            "num_probes": int(data.sizes["probe"]),
            "num_tokens": int(data.sizes["token"]),
            "seconds": float(attrs["seconds"]),
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def line(found: dict[str, Any]) -> str:
    """In a line.

    Args:
        found: From `summary`.
    """
    return (
        f"refined LLC {found['llc']:.4g} ± {found['standard_error']:.2g} and χ of "
        f"{found['num_tokens']:,} tokens of {found['num_probes']} probes, by {found['num_draws']} "
        f"weighted draws worth {found['share']:.0%}, at nβ {found['nbeta']:g}, "
        f"γ {found['localization']:g}"
    )
