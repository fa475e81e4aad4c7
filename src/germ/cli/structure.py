"""`germ structure`: principal components, clusters and maps of stored susceptibilities."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from germ.cli.grouping import grouped
from germ.cli.options import Printing
from germ.cli.screen import Screen

if TYPE_CHECKING:
    import xarray as xr

    from germ.estimate.structure import PCA
    from germ.influence_result import Decode

SHOWN_PCS, SHOWN_TOKENS = 3, 5
"""Principal components whose tokens are printed, and how many of each sign."""


@grouped
def structure(
    folder: Annotated[
        Path,
        Argument(
            metavar="FOLDER",
            help="What germ susceptibility wrote, or its susceptibility.zarr.",
            show_default=False,
        ),
    ],
    printing: Printing,
    pca: Annotated[bool, Option("--pca", help="Principal components; the default.")] = False,
    by_layer: Annotated[
        bool, Option("--by-layer", help="Principal components of each layer alone as well.")
    ] = False,
    cluster: Annotated[bool, Option("--cluster", help="Clusters of tokens (HDBSCAN).")] = False,
    umap: Annotated[bool, Option("--umap", help="A map of the tokens (UMAP).")] = False,
    step: Annotated[
        str | None,
        Option(
            "--step", help="The checkpoint to cluster and map, of several; the last by default."
        ),
    ] = None,
    num: Annotated[int, Option("--num", help="Top tokens of each sign in the table.")] = 20,
    model: Annotated[
        str | None,
        Option("--model", help="Whose tokenizer writes the text; by default the one measured."),
    ] = None,
    out: Annotated[
        Path | None, Option("--out", help="The folder of tables and figures; by default FOLDER.")
    ] = None,
    seed: Annotated[int, Option("--seed", help="Of noise, samples and the map.")] = 0,
) -> int:
    """Look for structure in susceptibilities: what components have in common, and how they differ.

    Says how many principal components exceed those of noise alone, and whether clusters survive
    when tokens are left out or χ is moved by its error.

    [bold]germ structure runs/susceptibility --pca --cluster[/bold]
    """
    from germ.estimate import structure as estimates
    from germ.report import figures, structure_figure

    screen = Screen(json=printing.json)
    data, place = read(folder)
    out = place.parent if out is None else out
    last = at_checkpoint(data, step)
    found = estimates.pca(data, seed=seed)
    screen.say(str(found), "bold")
    screen.warn(found.warnings)
    decode = decoder(model or str(data.attrs.get("model", "")))
    probes = data["token_probe"].values.astype(str)
    paths = {"pca": write_table(out / "pca.csv", pca_table(found))}
    tokens = token_table(last, found, num, decode, step)
    paths["tokens"] = write_table(out / "top_tokens.csv", tokens)
    show_tokens(screen, tokens)
    figure = structure_figure.pca_figure(found, probes, str(place))
    paths["pca_figure"] = figures.save(figure, out / "pca.png")
    report: dict[str, Any] = {"command": "structure", "folder": str(place), "pca": summary(found)}
    if by_layer:
        report["by_layer"] = {}
        for layer, part in estimates.by_layer(data, seed=seed).items():
            screen.say(f"{layer}: {part}")
            report["by_layer"][layer] = summary(part)
    if cluster or umap:
        report |= _groups(screen, last, out, paths, probes, cluster=cluster, umap=umap, seed=seed)
    screen.say(", ".join(map(str, paths.values())), "dim")
    screen.emit({**report, "files": {name: str(path) for name, path in paths.items()}})
    return 0


def _groups(
    screen: Screen,
    data: xr.Dataset,
    out: Path,
    paths: dict[str, Path],
    probes: Any,
    *,
    cluster: bool,
    umap: bool,
    seed: int,
) -> dict[str, Any]:
    """Clusters and the map of one checkpoint."""
    from germ.estimate import clusters as estimates
    from germ.estimate.structure import pca
    from germ.report import figures, structure_figure

    report: dict[str, Any] = {}
    own = pca(data, seed=seed)
    groups = probes
    if cluster:
        found = estimates.clusters(data, seed=seed)
        screen.say(str(found), "bold")
        chosen = found.labels["token"].values
        rows = [
            {"token": int(t), "probe": probes[t], "cluster": int(label)}
            for t, label in zip(chosen, found.labels.values, strict=True)
        ]
        paths["clusters"] = write_table(out / "clusters.csv", rows)
        report["clusters"] = {
            "num_clusters": found.num_clusters, "share": found.share,
            "stability_tokens": found.stability_tokens, "counts": list(found.counts),
            "stability_noise": found.stability_noise,
        }  # fmt: skip
        groups = groups.copy().astype(object)
        groups[:] = "none"
        groups[chosen] = found.labels.values.astype(str)
        groups[groups == "-1"] = "none"
    if umap:
        points = estimates.embed(own, seed=seed)
        rows = [{"token": t, "probe": probes[t], "x": x, "y": y} for t, (x, y) in enumerate(points)]
        paths["umap"] = write_table(out / "umap.csv", rows)
        figure = structure_figure.map_figure(points, groups, "UMAP of tokens: a picture, no proof")
        paths["umap_figure"] = figures.save(figure, out / "umap.png")
    return report


def read(folder: Path) -> tuple[xr.Dataset, Path]:
    """The data set of susceptibilities in a folder, or of that name.

    Raises:
        GermError: There is none.
    """
    from germ.errors import GermError
    from germ.store import datasets

    place = folder if folder.suffix == ".zarr" else folder / "susceptibility.zarr"
    if not (place / "zarr.json").exists():
        raise GermError(
            f"expected a folder that germ susceptibility wrote; there is no {place}: run it first"
        )
    data = datasets.read(place)
    missing = [name for name in ("chi", "token_probe") if name not in data.variables]
    if missing:
        raise GermError(f"expected susceptibilities in {place}; it has no {', '.join(missing)}")
    return data, place


def at_checkpoint(data: xr.Dataset, step: str | None) -> xr.Dataset:
    """The data of one checkpoint, the last unless said otherwise.

    Raises:
        GermError: There is no such checkpoint.
    """
    from germ.errors import GermError

    if "checkpoint" not in data["chi"].dims:
        if step is not None:
            raise GermError(f"expected no --step: the data are of one checkpoint; got {step}")
        return data
    known = [str(value) for value in data["checkpoint"].values.tolist()]
    if step is not None and step not in known:
        raise GermError(f"expected --step, one of {', '.join(known)}; got {step}")
    return data.isel(checkpoint=-1 if step is None else known.index(step))


def decoder(model: str) -> Decode | None:
    """Token ids to text with a model's tokenizer; None where there is none to be had."""
    from germ import hub
    from germ.cli.influence import decoder as of_loaded
    from germ.errors import GermError

    try:
        return of_loaded(hub.load(model)) if model else None
    except GermError:
        return None


def summary(found: PCA) -> dict[str, Any]:
    """The numbers of a PCA, for JSON."""
    return {
        "explained": found.explained.values.tolist(),
        "noise_limit": found.noise_limit,
        "noise_source": found.noise_source,
        "num_significant": found.num_significant,
        "warnings": list(found.warnings),
    }


def pca_table(found: PCA) -> list[dict[str, Any]]:
    """A row for each principal component: its share, and its loadings."""
    rows = []
    names = found.loadings["component"].values.tolist()
    for i, share in enumerate(found.explained.values.tolist()):
        row = {"pc": i + 1, "explained": share, "noise_limit": found.noise_limit}
        row["above_noise"] = i < found.num_significant
        rows.append(row | dict(zip(names, found.loadings.values[i].tolist(), strict=True)))
    return rows


def token_table(
    data: xr.Dataset, found: PCA, num: int, decode: Decode | None, step: str | None
) -> list[dict[str, Any]]:
    """The top tokens of principal components and of components, with their text."""
    from germ.estimate.top_tokens import top_tokens

    scores = at_checkpoint(found.scores.to_dataset(name="chi"), step)["chi"]
    ranked = [
        *((f"PC {pc + 1}", scores.isel(pc=pc)) for pc in range(min(5, scores.sizes["pc"]))),
        *((str(name), data["chi"].sel(component=name)) for name in data["component"].values),
    ]
    rows = []
    for name, values in ranked:
        for row in top_tokens(data, values.reset_coords(drop=True), num=num):
            rows.append({"of": name, **_texts(row, decode)})
    return rows


def _texts(row: dict[str, Any], decode: Decode | None) -> dict[str, Any]:
    from germ.influence_result import printable

    texts = {"left": row["left"], "text": [row["token_id"]], "right": row["right"]}
    written = {
        name: printable(decode(ids)) if decode is not None and row["token_id"] >= 0
        else " ".join(map(str, ids))
        for name, ids in texts.items()
    }  # fmt: skip
    return {**{k: v for k, v in row.items() if k not in texts}, **written}


def show_tokens(screen: Screen, rows: Sequence[dict[str, Any]]) -> None:
    """The top tokens of the first principal components."""
    for name in (f"PC {i + 1}" for i in range(SHOWN_PCS)):
        for sign in "+-":
            top = [r for r in rows if r["of"] == name and r["sign"] == sign][:SHOWN_TOKENS]
            for row in top:
                screen.say(
                    f"  {name} {row['value']:>+8.2f}  {row['probe']:<12.12}  "
                    f"{row['left'][-30:]:>30}⟦{row['text']}⟧{row['right'][:24]}"
                )


def write_table(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows as CSV."""
    from germ.store import files

    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with files.writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_durable(path, [text.getvalue().encode()])
    return path
