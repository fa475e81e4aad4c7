"""Ratios to the bare loop, and the table of `benchmarks.overhead`."""

from __future__ import annotations

from statistics import median
from typing import Any

from benchmarks.overhead_cases import CASES, CONTENDERS, NUM_STORED_DRAWS, PEER

MEBIBYTE = 2**20


def summarize(results: dict[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """By case and contender: ratios to the bare loop of the same round, memory, bytes on disk."""
    summary: dict[str, dict[str, dict[str, Any]]] = {}
    for case, contenders in results["cases"].items():
        floor = contenders["bare"]
        summary[case] = {}
        for name, found in contenders.items():
            pairs = list(zip(found["rounds"], floor["rounds"], strict=True))
            row: dict[str, Any] = {
                "parameters": found["ready"]["num_parameters"],
                "rounds": len(pairs),
                "gradients_per_round": found["rounds"][0]["num_gradients"],
                "ms_per_gradient": 1e3 * median(r["wall_per_gradient"] for r in found["rounds"]),
                "peak_mib": peak(found) / MEBIBYTE,
                "growth_mib": growth(found) / MEBIBYTE,
                "peak_ratio": peak(found) / peak(floor),
                "growth_ratio": growth(found) / growth(floor),
                "stored_bytes": found.get("stored_bytes"),
            }
            for kind in ("wall", "cpu"):
                key = f"{kind}_per_gradient"
                ratios = [mine[key] / theirs[key] for mine, theirs in pairs]
                row |= {f"{kind}_ratio": median(ratios)}
                row |= {f"{kind}_ratio_least": min(ratios), f"{kind}_ratio_most": max(ratios)}
            summary[case][name] = row
    return summary


def peak(found: dict[str, Any]) -> int:
    """Most bytes a contender's process had in the timed rounds."""
    return max(r["peak_bytes"] for r in found["rounds"])


def growth(found: dict[str, Any]) -> int:
    """Bytes of that beyond libraries, model and data."""
    return peak(found) - found["ready"]["ready_bytes"]


def markdown(results: dict[str, Any]) -> str:
    """The tables, and how to read them."""
    where, versions = results["machine"], results["machine"]["versions"]
    lines = [
        "# What sampling costs",
        "",
        "Written by `python -m benchmarks.overhead`. Ratios are to the bare forward+backward loop "
        "of the same round: the median over rounds, and least–most. Memory is the peak of the "
        "process, and how much of it came after libraries, model and data were loaded.",
        "",
        f"{where['processor']}, {where['cores']} cores, one thread a contender, load "
        f"{where['load']:.1f} at the start. Python {where['python']}, "
        + ", ".join(f"{name} {number}" for name, number in versions.items())
        + f". {where['chains']} chains.",
        "",
    ]
    for case, rows in results["summary"].items():
        lines += table(case, rows)
    lines += stored(results["summary"])
    ran = {name for rows in results["summary"].values() for name in rows}
    lines += [f"- **{name}**: {what}." for name, what in CONTENDERS.items() if name in ran]
    return "\n".join(lines) + "\n"


def table(case: str, rows: dict[str, dict[str, Any]]) -> list[str]:
    """Times and memory of one case."""
    size, any_row = CASES[case], next(iter(rows.values()))
    lines = [
        f"## {any_row['parameters'] / 1e6:.2f}M parameters, {size.batch_size} examples of "
        f"{size.context} tokens a batch",
        "",
        "| | ms a gradient | time / bare | CPU time / bare | peak MiB | / bare | "
        "MiB over start | / bare |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, row in rows.items():
        lines.append(
            f"| {name} | {row['ms_per_gradient']:.1f} | {ratio(row, 'wall')} | {ratio(row, 'cpu')} "
            f"| {row['peak_mib']:.0f} | {row['peak_ratio']:.2f} "
            f"| {row['growth_mib']:.0f} | {row['growth_ratio']:.2f} |"
        )
    return [*lines, ""]


def ratio(row: dict[str, Any], kind: str) -> str:
    """A ratio with its spread."""
    least, most = row[f"{kind}_ratio_least"], row[f"{kind}_ratio_most"]
    return f"**{row[f'{kind}_ratio']:.3f}** ({least:.2f}–{most:.2f})"


def stored(summary: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    """Bytes on disk, beside the peer's where it was measured."""
    lines: list[str] = []
    for case, rows in summary.items():
        sizes = {n: row["stored_bytes"] for n, row in rows.items() if row["stored_bytes"]}
        if not sizes:
            continue
        lines += [f"## On disk: {NUM_STORED_DRAWS} draws of {case}", ""]
        peers = [name for name in PEER if name in sizes]
        lines += ["| | bytes |" + "".join(f" of {name} |" for name in peers)]
        lines += ["|---|--:|" + "--:|" * len(peers)]
        for name, size in sizes.items():
            shares = "".join(f" {size / sizes[peer]:.2%} |" for peer in peers)
            lines.append(f"| {name} | {size:,} |{shares}")
        lines.append("")
    return lines
