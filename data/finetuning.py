"""The [finetuning] section: how `rankwell train encoder` trains a transformer."""

from dataclasses import dataclass

from rankwell.data.settings import Section, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuningConfig(Section):
    """Fine-tuning of a transformer encoder by `rankwell train encoder`."""

    epochs: int = setting(5, "passes over the queries, at most", low=1)
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
