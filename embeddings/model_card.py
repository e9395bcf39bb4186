"""The card of an encoder: what it is, on what it was trained, its figures, how to load it."""

import json
from collections.abc import Mapping
from typing import Any

_MADE = {
    "sif": "Word vectors trained on the collection and pooled (smooth inverse frequency), less the "
    "direction that its documents share. Nothing else was trained.",
    "static": "Word vectors trained on the collection and pooled (smooth inverse frequency), then "
    "trained so that a passage is nearer to its own document than to others (InfoNCE with in-batch "
    "negatives and hard negatives from BM25).",
}


def model_card(kind: str, facts: Mapping[str, Any], num_rows: int, dimensions: int) -> str:
    """Returns the card in Markdown, with the metadata that model hubs read.

    Args:
        kind: of the encoder, sif or static.
        facts: how it was made, and its figures.
        num_rows: of the table, the unknown word included.
        dimensions: of a vector.
    """
    lines = [
        "---",
        "library_name: sentence-transformers",
        "pipeline_tag: sentence-similarity",
        "tags: [sentence-transformers, feature-extraction, static-embeddings, rankwell]",
        "---",
        "",
        f"# A static encoder of {num_rows - 1:,} words and {dimensions} dimensions",
        "",
        _MADE[kind],
        "",
        "## Trained on, and figures",
        "",
        "| what | value |",
        "|---|---|",
        *(f"| {name} | {_cell(value)} |" for name, value in facts.items()),
        "",
        "Figures on the judgments of a collection: `rankwell evaluate DIR --stages dense`.",
        "",
        "## Use",
        "",
        "```python",
        "from sentence_transformers import SentenceTransformer",
        "",
        'model = SentenceTransformer("path/to/this/folder", device="cpu")',
        'vectors = model.encode(["a query", "a title\\nand its text"])',
        "```",
        "",
        "A text is cut into words, each word adds its row of the table, and the sum is brought to "
        "length one. Words that the collection lacks add nothing; a text of such words alone is "
        "zeros. The vectors know this collection's language and nothing else.",
    ]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
