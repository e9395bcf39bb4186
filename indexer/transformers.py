"""Opening the transformer that a configuration names; an optional package is needed."""

from dataclasses import replace
from pathlib import Path

from rankwell.data.config import Config
from rankwell.data.encoders import TRANSFORMER
from rankwell.embeddings.encoder_files import kind_of
from rankwell.embeddings.transformer import TransformerEncoder
from rankwell.embeddings.transformer_files import Reading
from rankwell.embeddings.transformer_models import has_onnx, resolve_model, torch_device
from rankwell.embeddings.word_vectors import WordVectors


def open_transformer(
    word_vectors: WordVectors, config: Config, folder: Path, before: Path | None = None
) -> TransformerEncoder:
    """Opens the model of [dense] as an encoder.

    Args:
        word_vectors: the trained words, which it keeps beside the model.
        config: the [dense] section.
        folder: the collection's, where a relative name begins.
        before: the folder of an encoder made by the same [dense], but for its dimensions, whose
            model stays: it may be fine-tuned; None: the named model is taken as it is.

    Raises:
        InputError: the model is missing, of another kind, or cannot do what is asked.
        MissingPackage: sentence-transformers is not installed, or what eight bits need.
        Unavailable: a GPU is asked for where none is.
    """
    dense = config.dense
    if before is not None and kind_of(before) == TRANSFORMER:
        kept = replace(TransformerEncoder.load(before, dense.device), word_vectors=word_vectors)
        if dense.dimensions == kept.dimensions:
            return kept
        asked = replace(kept.reading, dimensions=dense.dimensions)
        return TransformerEncoder.of(word_vectors, kept.model, asked, kept.facts, dense.device)
    model = resolve_model(dense.model, folder)
    on_gpu = torch_device(dense.device) == "cuda"
    backend = dense.backend
    if backend == "auto":
        backend = "int8" if has_onnx() and not on_gpu else "torch"
    asked = Reading(
        query_prompt=dense.query_prompt,
        document_prompt=dense.document_prompt,
        max_tokens=dense.max_tokens,
        split=dense.passages,
        overlap=dense.passage_overlap,
        dimensions=dense.dimensions,
        backend=backend,
    )
    facts = {"model": dense.model, "backend": backend, "trained on": "nothing of this collection"}
    return TransformerEncoder.of(word_vectors, model, asked, facts, dense.device)
