"""What `influence()` found: an `xarray.Dataset`, its most influential examples, and its files."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from germ.errors import GermError
from germ.estimate.influence import Pooled
from germ.store import datasets, files
from germ.types import Batch

Decode = Callable[[list[int]], str]


@dataclass(frozen=True)
class Side:
    """The rows of one side: examples, or tokens of examples.

    Attributes:
        batches: The examples, on their device.
        loss: Loss at w* of each row.
        set_name: The data set of each row.
        example: Its index there.
        position: Index of the predicted token in its example; 0 where rows are examples.
        token_id: The predicted token; −1 where there is none.
        row: The row of `tokens` that a row belongs to.
        tokens: Input ids of the examples, (examples, context), or None.
    """

    batches: list[Batch]
    loss: np.ndarray
    set_name: np.ndarray
    example: np.ndarray
    position: np.ndarray
    token_id: np.ndarray
    row: np.ndarray
    tokens: np.ndarray | None

    @property
    def num_examples(self) -> int:
        """Examples, of however many rows."""
        return int(self.row[-1]) + 1

    @classmethod
    def of(
        cls,
        name: str,
        batches: list[Batch],
        losses: np.ndarray,
        indices: np.ndarray,
        tokens: np.ndarray | None,
        *,
        per_token: bool,
        next_token: bool,
    ) -> Side:
        """The rows of one data set, from losses (examples,) or (examples, tokens)."""
        num = len(losses)
        width = losses.shape[1] if per_token else 1
        row = np.repeat(np.arange(num), width)
        # Entry t of a next-token loss speaks of token t + 1.
        position = np.tile(np.arange(width) + int(next_token), num) if per_token else np.zeros(num)
        position = position.astype(np.int64)
        token_id = np.full(num * width, -1)
        if per_token and next_token and tokens is not None:
            token_id = tokens[row, position]
        flat = losses.reshape(-1) if per_token else losses.reshape(num, -1).mean(1)
        names = np.full(num * width, name)
        return cls(batches, flat, names, indices[row], position, token_id, row, tokens)

    @classmethod
    def join(cls, sides: Sequence[Side]) -> Side:
        """Several data sets, one after another.

        Raises:
            GermError: Their contexts differ.
        """
        contexts = {None if side.tokens is None else side.tokens.shape[1] for side in sides}
        if len(contexts) > 1:
            raise GermError(f"expected queries of one context; got {sorted(map(str, contexts))}")
        tokens = None
        if sides[0].tokens is not None:
            tokens = np.concatenate([side.tokens for side in sides if side.tokens is not None])
        starts = np.cumsum([0, *(side.num_examples for side in sides[:-1])])
        row = np.concatenate([side.row + start for side, start in zip(sides, starts, strict=True)])
        together = {
            field: np.concatenate([getattr(side, field) for side in sides])
            for field in ("loss", "set_name", "example", "position", "token_id")
        }
        batches = [batch for side in sides for batch in side.batches]
        return cls(batches=batches, row=row, tokens=tokens, **together)


def dataset(
    components: Sequence[str],
    found: Sequence[Pooled],
    ess: Sequence[float],
    train: Side,
    query: Side,
    sets: Mapping[str, slice],
    attrs: Mapping[str, Any],
) -> xr.Dataset:
    """The covariances as a data set; those of the mean of each query set beside those of its rows.

    Returns:
        `covariance`, `covariance_error`, `correlation`, `correlation_error` of dims (component,
        train, query), the same with `_set` of dims (component, train, query_set); `train_loss`,
        `query_loss` at w*; `ess` (component,); the input ids `train_tokens`, `query_tokens`.
    """
    num = len(query.loss)
    variables: dict[str, Any] = {}
    for name in ("covariance", "covariance_error", "correlation", "correlation_error"):
        whole = np.stack([getattr(one, name) for one in found])
        variables[name] = (("component", "train", "query"), whole[..., :num])
        variables[f"{name}_set"] = (("component", "train", "query_set"), whole[..., num:])
    variables["ess"] = ("component", np.asarray(ess))
    coords: dict[str, Any] = {
        "component": np.array(components, dtype=str),
        "query_set": np.array(list(sets), dtype=str),
    }
    for dim, side in (("train", train), ("query", query)):
        variables[f"{dim}_loss"] = (dim, side.loss)
        if side.tokens is not None:
            variables[f"{dim}_tokens"] = ((f"{dim}_row", "context"), side.tokens)
            if dim == "query" and train.tokens is not None:
                same = side.tokens.shape[1] == train.tokens.shape[1]
                if not same:  # Two contexts need two dimensions.
                    variables["query_tokens"] = (("query_row", "query_context"), side.tokens)
        coords[f"{dim}_example"] = (dim, side.example)
        coords[f"{dim}_position"] = (dim, side.position)
        coords[f"{dim}_token_id"] = (dim, side.token_id)
        coords[f"{dim}_in_row"] = (dim, side.row)
    coords["query_name"] = ("query", query.set_name)
    return xr.Dataset(variables, coords=coords, attrs=dict(attrs))


@dataclass(frozen=True)
class Influence:
    """Covariances and correlations of the losses of training examples with those of queries.

    Attributes:
        data: See `dataset`. Units of a covariance: those of the loss, squared (nats²).
        warnings: What a reader must know, one sentence each.
    """

    data: xr.Dataset
    warnings: tuple[str, ...] = ()

    @property
    def bif(self) -> xr.DataArray:
        """BIF = −Cov_γ(ℓ_i, ℓ_q) (component, train, query): ∂E[ℓ_q]/∂β_i, β_i = nβ/n."""
        return -self.data["covariance"]

    def removal(self) -> xr.DataArray:
        """What leaving out a training example would change in each query's expected loss.

        E[ℓ_q] without z_i − E[ℓ_q] ≈ (nβ/n)·Cov(ℓ_i, ℓ_q), to first order, in the loss's unit: at
        the resolution (nβ, γ) of this posterior, which is not a retraining.
        """
        weight = float(self.data.attrs["nbeta"]) / int(self.data.attrs["num_examples"])
        return weight * self.data["covariance"]

    def most(
        self,
        query: int | str,
        *,
        component: str | None = None,
        num: int = 10,
        by: str = "correlation",
        negative: bool = False,
    ) -> list[dict[str, Any]]:
        """The training rows whose loss goes most with that of a query, or most against it.

        Args:
            query: A row of the query side, or the name of a query set: its mean loss.
            component: Of which weights; by default the first.
            num: How many.
            by: `"correlation"` or `"covariance"`.
            negative: The most negative in place of the most positive.

        Returns:
            For each: row, example, position, covariance, correlation, their errors, loss at w*.

        Raises:
            GermError: There is no such component or query.
        """
        data = self._of(component)
        suffix, dim = ("_set", "query_set") if isinstance(query, str) else ("", "query")
        try:
            chosen = data.sel({dim: query}) if suffix else data.isel({dim: int(query)})
        except (KeyError, IndexError):
            known = data["query_set"].values.tolist() if suffix else data.sizes["query"]
            raise GermError(f"expected a query, one of {known}; got {query!r}") from None
        values = chosen[f"{by}{suffix}"].values
        order = np.argsort(values if negative else -values, kind="stable")[:num]
        # A row that is the query itself says nothing.
        found = []
        for i in order.tolist():
            row = {"row": i, "example": int(data["train_example"][i])}
            row |= {"position": int(data["train_position"][i]), "loss": float(data.train_loss[i])}
            for name in ("covariance", "covariance_error", "correlation", "correlation_error"):
                row[name] = float(chosen[f"{name}{suffix}"][i])
            found.append(row)
        return found

    def text(self, row: int, decode: Decode, *, side: str = "train", window: int = 24) -> str:
        """The text of a row: an example's beginning, or a token ⟦marked⟧ with its left context.

        Control characters are written out, so that no text can take hold of a terminal.
        """
        tokens = self.data.get(f"{side}_tokens")
        if tokens is None:
            return ""
        ids = tokens.values[int(self.data[f"{side}_in_row"][row])]
        if not self.data.attrs["per_token"]:
            return printable(decode(ids[:window].tolist()))
        position = int(self.data[f"{side}_position"][row])
        left = decode(ids[max(0, position - window // 2) : position].tolist())
        return f"{printable(left)}⟦{printable(decode([int(ids[position])]))}⟧"

    def write(
        self, folder: str | Path, *, decode: Decode | None = None, num: int = 10
    ) -> dict[str, Path]:
        """Write `influence.zarr`, and `influence.csv`: the most influential rows of every query.

        Args:
            folder: Made if need be.
            decode: Token ids to text, for the text in the table.
            num: Rows of each sign for each query.

        Returns:
            The paths.
        """
        folder = Path(folder)
        paths = {"zarr": folder / "influence.zarr", "csv": folder / "influence.csv"}
        with files.writing(folder):
            datasets.write(self.data, paths["zarr"])
            text = io.StringIO()
            rows = self._table(decode, num)
            writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
            files.write_durable(paths["csv"], [text.getvalue().encode()])
        return paths

    def _table(self, decode: Decode | None, num: int) -> list[dict[str, Any]]:
        data, rows = self.data, []
        names = data["query_set"].values.tolist()
        queries: list[int | str] = [*names, *range(min(data.sizes["query"], 1000))]
        for component in data["component"].values.tolist():
            for query in queries:
                at = {"query": query, "query_example": "mean", "query_position": ""}
                if not isinstance(query, str):
                    at = {
                        "query": str(data["query_name"][query].item()),
                        "query_example": int(data["query_example"][query]),
                        "query_position": int(data["query_position"][query]),
                    }
                for negative in (False, True):
                    most = self.most(query, component=component, num=num, negative=negative)
                    for rank, found in enumerate(most):
                        sign = "-" if negative else "+"
                        head = {"component": component, **at, "sign": sign, "rank": rank + 1}
                        text = "" if decode is None else self.text(found["row"], decode)
                        rows.append({**head, **found, "text": text})
        return rows

    def _of(self, component: str | None) -> xr.Dataset:
        known = self.data["component"].values.tolist()
        if component is None:
            return self.data.isel(component=0)
        if component not in known:
            raise GermError(f"expected a component, one of {known}; got {component!r}")
        return self.data.sel(component=component)


def printable(text: str) -> str:
    r"""The text with what is not printable written out, such as \n and \x1b, on one line.

    Example:
        >>> printable("a\x1b[31mb\n")
        'a\\x1b[31mb\\n'
    """
    written = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return "".join(written)
