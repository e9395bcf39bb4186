"""The [dense] and [finetuning] sections: which encoder reads, and how a transformer is trained."""

from dataclasses import dataclass

from rankwell.data.errors import ConfigError
from rankwell.data.settings import Section, check_choice, setting

TRANSFORMER = "transformer"
ENCODERS = ("auto", "static", "sif", TRANSFORMER)
BACKENDS = ("auto", "torch", "int8")
DEVICES = ("auto", "cpu", "gpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseConfig(Section):
    """Dense search: inner products of document and query vectors."""

    encoder: str = setting(
        "auto",
        "static (trained on pairs of texts), sif (pooled word vectors), auto: static where the "
        "documents are enough, or transformer: the model named here",
    )
    encoder_epochs: int = setting(
        0, "passes over the documents that train a static encoder; 0: chosen by their number", low=0
    )
    encoder_learning_rate: float = setting(
        0.02, "of the static encoder, at the start; decays to nothing", low=0.0, high=1.0
    )
    model: str = setting(
        "",
        "a transformer's folder, relative to this file, or its name on the hub: any model of "
        "sentence-transformers",
    )
    query_prompt: str = setting("", "stands before each query; empty: the transformer's own")
    document_prompt: str = setting("", "stands before each document; empty: the transformer's own")
    max_tokens: int = setting(0, "that a transformer reads of a text; 0: its own limit", low=0)
    passages: bool = setting(
        True, "longer documents are split into passages for a transformer; false: they are cut"
    )
    passage_overlap: int = setting(32, "tokens that neighbouring passages may share", low=0)
    dimensions: int = setting(
        0, "the first so many numbers of a transformer's vectors are used; 0: all", low=0
    )
    backend: str = setting(
        "auto",
        "how a transformer computes: torch, int8 (ONNX in eight bits, for processors), or auto: "
        "int8 where its packages are and no GPU is",
    )
    device: str = setting("auto", "where torch computes: cpu, gpu, or auto: a GPU where one is")
    depth: int = setting(1000, "candidates that the engine gives", low=1, high=10000)
    sif: float = setting(
        1e-3, "smooth inverse frequency: words more frequent than this weigh less", low=1e-9
    )

    def __post_init__(self) -> None:
        """Checks the names."""
        Section.__post_init__(self)
        check_choice("encoder", self.encoder, ENCODERS)
        check_choice("backend", self.backend, BACKENDS)
        check_choice("device", self.device, DEVICES)
        if self.encoder == TRANSFORMER and not self.model:
            raise ConfigError(
                "encoder is 'transformer', and no model is named; set model to the folder of a "
                "sentence-transformers model, or to its name on the hub"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuningConfig(Section):
    """Fine-tuning of a transformer encoder by `rankwell train encoder`."""

    epochs: int = setting(3, "passes over the queries, at most", low=1)
    batch: int = setting(
        32, "queries that are told from one another at a time; more are harder, and slower", low=2
    )
    negatives: int = setting(
        1, "hard negatives of each query: near documents of both engines that do not answer", low=0
    )
    learning_rate: float = setting(
        4e-5, "of AdamW, at its highest; rises over a tenth of the steps", low=0.0, high=1.0
    )
    scale: float = setting(20.0, "of cosines in the softmax; 1 / temperature", low=1e-3)
    texts_in_memory: int = setting(
        128,
        "a batch of more texts is computed twice, with cached gradients, and needs no more memory",
        low=2,
    )
    matryoshka: tuple[int, ...] = setting(
        (), "lengths of vectors that shall be of use too, as [256, 128, 64]; see [dense] dimensions"
    )
    held_out: float = setting(
        0.1, "the share of the queries that says when to stop", low=0.0, high=0.5
    )
    patience: int = setting(2, "epochs without a better held-out figure before it stops", low=1)
    generated: int = setting(
        20_000, "queries made of the documents, at most, where there are no judgments", low=0
    )
