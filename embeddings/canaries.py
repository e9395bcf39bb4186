"""Canary vectors: texts whose vectors a version remembers, to notice an encoder that has changed.

A weight, a prompt, a tokenizer or a library that computes something else shows when the version is
opened, before a query and the documents lie in different spaces.
"""

import json
from pathlib import Path

import numpy as np

from rankwell.data.errors import DamagedVersion
from rankwell.embeddings.encoders import CollectionEncoder


def write_canaries(path: Path, encoder: CollectionEncoder, texts: list[str]) -> None:
    """Writes texts with the vectors that an encoder gives them now, as documents and as queries."""
    content = {
        "texts": texts,
        "vectors": encoder.encode_documents(texts).tolist(),
        "queries": encoder.encode_queries(texts).tolist(),
    }
    path.write_text(json.dumps(content) + "\n", encoding="utf-8")


def check_canaries(path: Path, encoder: CollectionEncoder) -> float:
    """Returns the largest difference between the vectors written and those computed now.

    Raises:
        DamagedVersion: it is past the encoder's tolerance, or the file is malformed.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        texts, worst = content["texts"], 0.0
        for name, now_ND in (
            ("vectors", encoder.encode_documents(texts)),
            ("queries", encoder.encode_queries(texts)),
        ):
            # versions of before hold no queries: theirs were encoded as documents
            written_ND = np.array(content.get(name, content["vectors"]), np.float32)
            differences_ND = np.abs(written_ND.reshape(now_ND.shape) - now_ND)
            # a NaN stays one, which max() would lose
            worst = float(np.maximum(worst, differences_ND.max(initial=0.0)))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedVersion(f"{path} cannot be used: {error}") from None
    if not worst <= encoder.tolerance:
        raise DamagedVersion(
            f"the encoder does not compute what it did when {path} was written: vectors differ by "
            f"{worst:.2g}. Compare the library versions in the manifest with those installed, and "
            "build the vectors again with rankwell index --full"
        )
    return worst
