"""The measures of behaviour by name, and what each needs to be told of a model."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from jaxtyping import Int
from torch import Tensor, nn

from germ.development import attention_scores, in_context, ngram_losses, zeroed_heads
from germ.development.forward import token_losses
from germ.development.ngrams import NGrams, count
from germ.development.scores import Score, mean
from germ.errors import GermError

NAMES = {
    "loss": "the mean loss of a token",
    "bigrams": "cross-entropy with the counted bigrams, its floor, and the score of common ones",
    "trigrams": "the same of trigrams; 4-grams, 5-grams, ... likewise",
    "in-context": "the loss late in a row less the loss early in it",
    "repetition": "the loss on a second copy of random tokens less that on the first",
    "heads": "prefix matching, and attention to the previous, the same and the first token",
    "zeroing": "the loss, and that of repeated tokens, without each head",
    "outputs": "essential dynamics: the path of the outputs over checkpoints",
}
"""Every measure that can be asked for, and what it is."""

DEFAULT = ("loss", "bigrams", "trigrams", "in-context", "repetition", "heads")

OUTPUTS = "outputs"
"""The one measure that is of all checkpoints together."""

NUM_REPEATED, MAX_REPEATED = 64, 50


@dataclass(frozen=True)
class Setting:
    """What every model of a comparison is measured on: the same for all.

    Attributes:
        tokens: The rows of text.
        counted: The rows that n-grams are counted in.
        seed: Of random tokens.
        early: See `in_context.in_context_score`.
        late: Likewise.
    """

    tokens: Int[Tensor, "examples tokens"]
    counted: Int[Tensor, "rows context"]
    seed: int = 0
    early: int | None = None
    late: int | None = None
    _ngrams: dict[int, NGrams] = field(default_factory=dict)

    @cached_property
    def kinds(self) -> Int[Tensor, " kinds"]:
        """The usual kinds of token of the counted text."""
        return in_context.usual_tokens(self.counted)

    @property
    def length(self) -> int:
        """Random tokens before they repeat: 50, or as many as half a row or the kinds allow."""
        return min(MAX_REPEATED, self.tokens.shape[1] // 2, len(self.kinds))

    @property
    def repeated(self) -> Int[Tensor, "examples tokens"]:
        """Random tokens of the usual kinds, twice over."""
        return in_context.repeated(self.kinds, NUM_REPEATED, self.length, 2, self.seed)

    def ngrams(self, n: int) -> NGrams:
        """The n-grams, counted once."""
        if n not in self._ngrams:
            self._ngrams[n] = count(self.counted, n)
        return self._ngrams[n]


Measure = Callable[[nn.Module, Setting], list[Score]]


def chosen(names: str | Sequence[str]) -> dict[str, Measure | None]:
    """The measures of these names, in order; None for `outputs`, which is of all models together.

    Args:
        names: Of `NAMES`, or `N-grams`; a string has them separated by commas.

    Raises:
        GermError: There is no such measure, or none is named.
    """
    each = names.split(",") if isinstance(names, str) else list(names)
    each = [name.strip() for name in each if name.strip()]
    if not each:
        raise GermError(f"expected measures among {', '.join(NAMES)}; got none")
    return {name: None if name == OUTPUTS else _measure(name) for name in each}


def _measure(name: str) -> Measure:
    sizes = {"unigrams": 1, "bigrams": 2, "trigrams": 3}
    other = re.fullmatch(r"(\d+)-grams", name)
    if name in sizes or (other and int(other[1]) >= 1):
        n = sizes[name] if name in sizes else int(other[1]) if other else 0
        return lambda model, setting: _of_ngrams(model, setting, n)
    if name not in _MEASURES:
        raise GermError(f"expected measures among {', '.join(NAMES)}, 4-grams, ...; got {name!r}")
    return _MEASURES[name]


def _of_ngrams(model: nn.Module, setting: Setting, n: int) -> list[Score]:
    ngrams = setting.ngrams(n)
    found = ngram_losses.cross_entropy(model, setting.tokens, ngrams)
    if n > 1:
        found.append(ngram_losses.common_score(model, setting.tokens, ngrams))
    return found


def _loss(model: nn.Module, setting: Setting) -> list[Score]:
    return [mean("loss", token_losses(model, setting.tokens).mean(1).numpy())]


def _in_context(model: nn.Module, setting: Setting) -> list[Score]:
    losses = token_losses(model, setting.tokens)
    return [in_context.in_context_score(losses, setting.early, setting.late)]


def _repetition(model: nn.Module, setting: Setting) -> list[Score]:
    return [in_context.repetition_score(model, setting.repeated, setting.length)]


def _heads(model: nn.Module, setting: Setting) -> list[Score]:
    induction = attention_scores.prefix_matching(model, setting.repeated, setting.length)
    return [*induction, *attention_scores.text_scores(model, setting.tokens)]


def _zeroing(model: nn.Module, setting: Setting) -> list[Score]:
    copying = zeroed_heads.repetition_loss_without(model, setting.repeated, setting.length)
    return [*zeroed_heads.loss_without(model, setting.tokens), *copying]


_MEASURES: dict[str, Measure] = {
    "loss": _loss,
    "in-context": _in_context,
    "repetition": _repetition,
    "heads": _heads,
    "zeroing": _zeroing,
}
