r"""Make the bundled corpora and tokenizer out of larger files (run once, by maintainers).

    python -m germ.zoo.corpora --source FOLDER

reads `NAME.txt.xz` for each domain, documents separated by `\n\x1e\n`, and writes a sample of each
and one tokenizer for all of them into the package. Everything is deterministic.
"""

import argparse
import lzma
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from germ.zoo.bundled import ASSETS, DOCUMENT_SEPARATOR, END_OF_DOCUMENT, documents, domains

DOMAINS = ("code_python", "literature", "math_metamath", "speech_sotu")
CHARACTERS = 1_200_000  # of each domain: what still fits beside twelve checkpoints in 11.5 MB
PIECE = 8_000  # characters; short enough that holding out every tenth piece samples every source
VOCAB_SIZE = 1024


def pieces(document: str, length: int = PIECE) -> list[str]:
    """Cut a document at blank lines, or else line ends, into pieces of at least `length`."""
    cut = []
    while len(document) > 2 * length:
        end = document.find("\n\n", length, 2 * length)
        if end < 0:
            end = document.find("\n", length, 2 * length)
        if end < 0:
            end = length
        cut.append(document[:end].strip())
        document = document[end:]
    return [piece for piece in [*cut, document.strip()] if len(piece) > 200]


def sample(text: str, characters: int = CHARACTERS) -> list[str]:
    """Choose pieces spread evenly over a corpus, `characters` in all (give or take a piece)."""
    # A file that speaks of its own copyright may have an owner and terms beyond its collection's.
    own_terms = ("copyright", "license", "licence")
    kept = [d for d in text.split(DOCUMENT_SEPARATOR) if not any(w in d.lower() for w in own_terms)]
    every = list(dict.fromkeys(piece for document in kept for piece in pieces(document)))
    stride = max(1.0, sum(map(len, every)) / characters)
    return [every[int(i * stride)] for i in range(int(len(every) / stride))]


def train_tokenizer(texts: list[str], vocab_size: int = VOCAB_SIZE) -> Tokenizer:
    """Train a byte-level BPE tokenizer: any text can be encoded, and is decoded to itself."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_DOCUMENT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def main() -> None:
    """Write corpora and tokenizer."""
    parser = argparse.ArgumentParser(description="Make the bundled corpora and tokenizer.")
    parser.add_argument("--source", type=Path, required=True, help="folder of NAME.txt.xz files")
    source = parser.parse_args().source
    folder = Path(str(ASSETS)) / "corpora"
    folder.mkdir(parents=True, exist_ok=True)
    for name in DOMAINS:
        text = lzma.decompress((source / f"{name}.txt.xz").read_bytes()).decode("utf-8")
        chosen = DOCUMENT_SEPARATOR.join(sample(text)).encode()
        packed = lzma.compress(chosen, preset=9 | lzma.PRESET_EXTREME)
        (folder / f"{name}.txt.xz").write_bytes(packed)
        print(f"{name}: {len(chosen):,} bytes, {len(packed):,} compressed")
    texts = [text for name in domains() for text in documents(name, "train")]
    train_tokenizer(texts).save(str(folder.parent / "tokenizer.json"))


if __name__ == "__main__":
    main()
