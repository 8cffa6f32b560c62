"""Makes the embedded sample of WordNet's noun glosses from data.noun of WordNet 3.0.

python docs/wordnet_glosses.py /usr/share/wordnet/data.noun   (Debian: apt-get install wordnet-base)

It writes sslfast/pretrain/corpus/wordnet_glosses.tsv.gz: class and definition of 20,000 nouns, one a line, of the 25
lexicographer files that are classes of meaning; Tops, the 51 nouns at the top of the hierarchy, is none. The choice
depends on the synsets alone, so every run writes the same bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import sys
from pathlib import Path

COUNT = 20_000
TARGET = Path(__file__).parents[1] / "sslfast" / "pretrain" / "corpus" / "wordnet_glosses.tsv.gz"
# lexnames(5WN): the lexicographer files of the nouns, from number 3 on.
CLASSES = (
    "Tops", "act", "animal", "artifact", "attribute", "body", "cognition", "communication", "event", "feeling", "food",
    "group", "location", "motive", "object", "person", "phenomenon", "plant", "possession", "process", "quantity",
    "relation", "shape", "state", "substance", "time",
)  # fmt: skip


def definition(gloss: str) -> str:
    """The gloss without its examples, which stand in quotes after the definition.

    A quotation mark that opens within the definition, as of a title, follows neither ; nor : and stays.
    """
    return " ".join(re.split(r'[;:]\s*(?=")|^\s*(?=")', gloss)[0].split()).strip(" ;")


def synsets(path: Path) -> list[tuple[str, str, str]]:
    """(offset, class, definition) of every noun, the first of each definition."""
    found: dict[str, tuple[str, str, str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():  # of both kinds of line end
        if line.startswith("  "):  # the licence
            continue
        head, _, gloss = line.partition(" | ")
        offset, file_number, kind = head.split(" ", 3)[:3]
        text, name = definition(gloss), CLASSES[int(file_number) - 3]
        if kind == "n" and text and name != "Tops":
            found.setdefault(text, (offset, name, text))
    return list(found.values())


def main() -> None:
    """Keeps the synsets with the smallest hashes of their offsets, in the order of the file."""
    nouns = synsets(Path(sys.argv[1]))
    by_hash = sorted(nouns, key=lambda noun: hashlib.blake2b(noun[0].encode(), digest_size=8).digest())
    lines = [f"{name}\t{text}\n" for _, name, text in sorted(by_hash[:COUNT])]
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    # No time and no file name in the header.
    TARGET.write_bytes(gzip.compress("".join(lines).encode(), 9, mtime=0))
    print(f"{len(lines)} of {len(nouns)} glosses, {TARGET.stat().st_size} bytes: {TARGET}")


if __name__ == "__main__":
    main()
