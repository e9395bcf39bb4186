"""The folder of a transformer encoder, and the words beside it.

    model/                          a model as sentence-transformers loads and saves it
    model.int8.onnx                 the same in eight bits, where queries are read that way
    words.txt, words.safetensors    the trained words, as in the folder of a static encoder
    encoder.json                    how texts are read, facts, fingerprint, the hash of each file

The fingerprint is made of the model's files and of how texts are read. Opening hashes the small
ones again (tokenizer, configuration) and compares the sizes of all; the canary vectors and
`rankwell verify` see the weights.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rankwell.data.encoders import TRANSFORMER
from rankwell.data.errors import DamagedVersion
from rankwell.data.versions import FileRecord, file_record
from rankwell.embeddings.encoder_files import SUMMARY

FORMAT_VERSION = 1
MODEL = "model"
INT8 = "model.int8.onnx"
TOKENIZER = "tokenizer.json"

_SMALL_BYTES = 4 << 20
_READ = (".json", ".safetensors", ".txt", ".model")  # weights in other forms are never opened
_OTHER_FORMS = ("onnx", "openvino")  # folders that hubs keep beside the model


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How texts become vectors, beside the model's weights.

    Attributes:
        query_prompt: stands before each query.
        document_prompt: stands before each document.
        max_tokens: of a text, prompt and special tokens included.
        split: whether longer documents become passages; otherwise they are cut.
        overlap: tokens that neighbouring passages share, at most.
        dimensions: of a vector: the first so many that the model gives.
        backend: torch, or int8 for ONNX in eight bits.
    """

    query_prompt: str
    document_prompt: str
    max_tokens: int
    split: bool
    overlap: int
    dimensions: int
    backend: str


def model_files(model: Path) -> dict[str, FileRecord]:
    """Returns the files that a model's vectors depend on, by their path."""
    return {
        path.relative_to(model).as_posix(): file_record(path)
        for path in sorted(model.rglob("*"))
        if path.is_file() and _matters(path.relative_to(model))
    }


def fingerprint_of(files: Mapping[str, FileRecord], reading: Reading) -> str:
    """Returns a hash that changes with any file or with how texts are read."""
    hashes = {path: record.sha256 for path, record in files.items()}
    content = json.dumps([TRANSFORMER, hashes, asdict(reading)], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def copy_model(source: Path, folder: Path) -> None:
    """Copies the files of a model that matter; never by links, since others may change them."""
    for path in model_files(source):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / path, target)


def write_summary(
    folder: Path,
    fingerprint: str,
    files: Mapping[str, FileRecord],
    reading: Reading,
    facts: Mapping[str, Any],
) -> None:
    """Writes encoder.json."""
    summary = {
        "format_version": FORMAT_VERSION,
        "kind": TRANSFORMER,
        "fingerprint": fingerprint,
        "reading": asdict(reading),
        "facts": dict(facts),
        "files": {path: asdict(record) for path, record in files.items()},
    }
    (folder / SUMMARY).write_text(json.dumps(summary, indent=1) + "\n")


def read_summary(folder: Path) -> tuple[dict[str, FileRecord], Reading, dict[str, Any], str]:
    """Reads encoder.json and holds the model's files against it.

    Returns:
        The files, how texts are read, the facts and the fingerprint.

    Raises:
        DamagedVersion: something is missing, malformed or another than it was.
    """
    try:
        summary = json.loads((folder / SUMMARY).read_text())
        if summary["format_version"] != FORMAT_VERSION:
            raise ValueError(
                f"it has format {summary['format_version']}, this rankwell reads {FORMAT_VERSION}"
            )
        files = {path: FileRecord(**record) for path, record in summary["files"].items()}
        reading = Reading(**summary["reading"])
        for path, record in files.items():
            file = folder / MODEL / path
            small = record.size_bytes < _SMALL_BYTES
            same = (
                file_record(file) == record if small else file.stat().st_size == record.size_bytes
            )
            if not same:
                raise ValueError(f"{MODEL}/{path} is not what was written")
        if fingerprint_of(files, reading) != summary["fingerprint"]:
            raise ValueError("its prompts or limits are not those that its fingerprint names")
        return files, reading, summary["facts"], summary["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedVersion(f"the encoder in {folder} cannot be opened: {error}") from None


def _matters(path: Path) -> bool:
    return path.suffix in _READ and path.parts[0] not in _OTHER_FORMS
