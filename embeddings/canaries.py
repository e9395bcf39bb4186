"""Canary vectors: texts whose vectors a version remembers, to notice an encoder that has changed.

A weight, a tokenizer or a library that computes something else shows when the version is opened,
before a query and the documents lie in different spaces.
"""

import json
from pathlib import Path

import numpy as np

from rankwell.data.errors import DamagedVersion
from rankwell.data.protocols import Encoder

TOLERANCE = 1e-3  # far above rounding between processors, far below another model


def write_canaries(path: Path, encoder: Encoder, texts: list[str]) -> None:
    """Writes texts with the vectors that an encoder gives them now."""
    vectors_ND = encoder.encode_documents(texts)
    content = {"texts": texts, "vectors": [[float(x) for x in row] for row in vectors_ND]}
    path.write_text(json.dumps(content) + "\n", encoding="utf-8")


def check_canaries(path: Path, encoder: Encoder) -> float:
    """Returns the largest difference between the vectors written and those computed now.

    Raises:
        DamagedVersion: it is past the tolerance, or the file is malformed.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        now_ND = encoder.encode_documents(content["texts"])
        written_ND = np.array(content["vectors"], np.float32).reshape(now_ND.shape)
        worst = float(np.abs(written_ND - now_ND).max(initial=0.0))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedVersion(f"{path} cannot be used: {error}") from None
    if not worst <= TOLERANCE:
        raise DamagedVersion(
            f"the encoder does not compute what it did when {path} was written: vectors differ by "
            f"{worst:.2g}. Compare the library versions in the manifest with those installed, and "
            "build the vectors again with rankwell index --full"
        )
    return worst
