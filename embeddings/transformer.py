r"""Transformer encoders: any model of sentence-transformers, with passages for long documents.

A text is the title, a newline and the body. Each passage has the title in front, so that it says
what it is about; of a long title as much as leaves room for the body. Texts are cut into tokens
here, by the model's own tokenizer, for both ways to compute (`transformer_models.py`).

Shapes: N texts, P passages, D dimensions.
"""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from rankwell.data.analysis import sentence_starts
from rankwell.data.encoders import TRANSFORMER
from rankwell.data.errors import DamagedVersion, InputError
from rankwell.data.records import EncodedPassages, document_text
from rankwell.embeddings.encoder_files import read_words, write_words
from rankwell.embeddings.passages import passage_spans
from rankwell.embeddings.transformer_files import (
    INT8,
    MODEL,
    TOKENIZER,
    Reading,
    copy_model,
    fingerprint_of,
    model_files,
    read_summary,
    write_summary,
)
from rankwell.embeddings.transformer_models import (
    OnnxModel,
    TextModel,
    TorchModel,
    export_int8,
    open_network,
)
from rankwell.embeddings.word_vectors import WordVectors, unit

_TITLE_SHARE = 0.25  # of a passage, at most
_SAMPLE_TEXTS = (
    "what did the early measurements of heat transfer show",
    "A short text.",
    "Reports are long, and what they say first is seldom what is looked for later. " * 12,
)
_SAME = 1e-3


@dataclass(frozen=True)
class TransformerEncoder:
    """An encoder of queries and documents that reads words in their context.

    Attributes:
        word_vectors: the trained words of the collection, as people explore them.
        model: the folder with the weights and the tokenizer.
        reading: how texts become vectors.
        facts: how it was made, and its figures; JSON values.
        vectors_fingerprint: of the model and the reading.
        device: where it computes: auto, cpu or cuda.
    """

    word_vectors: WordVectors
    model: Path
    reading: Reading
    facts: Mapping[str, Any]
    vectors_fingerprint: str
    device: str = "auto"
    kind: str = TRANSFORMER

    @classmethod
    def of(
        cls,
        word_vectors: WordVectors,
        model: Path,
        asked: Reading,
        facts: Mapping[str, Any],
        device: str = "auto",
    ) -> "TransformerEncoder":
        """Makes an encoder of a model's folder.

        What is asked for as empty or 0 (prompts, tokens, dimensions) is the model's own.

        Raises:
            InputError: the folder is missing or of another kind, or it cannot do what is asked.
            MissingPackage: sentence-transformers is not installed.
        """
        network = open_network(model)
        if not (model / TOKENIZER).exists():
            raise InputError(
                f"{model} has no {TOKENIZER}; save the model with a current sentence-transformers"
            )
        takes, gives = int(network.max_seq_length), int(network.get_embedding_dimension())
        prompts = network.prompts
        reading = replace(
            asked,
            query_prompt=asked.query_prompt or prompts.get("query") or "",
            document_prompt=asked.document_prompt
            or prompts.get("document")
            or prompts.get("passage")
            or "",
            max_tokens=asked.max_tokens or takes,
            dimensions=asked.dimensions or gives,
        )
        for name, wanted, most in (
            ("max_tokens", reading.max_tokens, takes),
            ("dimensions", reading.dimensions, gives),
        ):
            if wanted > most:
                raise InputError(
                    f"[dense] {name} is {wanted}, and the model in {model} has {most} at most"
                )
        fingerprint = fingerprint_of(model_files(model), reading)
        encoder = cls(word_vectors, model, reading, facts, fingerprint, device)
        encoder._check_room()
        encoder._check_against(network)
        return encoder

    @cached_property
    def fingerprint(self) -> str:
        """Of the vectors and of the words, which a ranker depends on too."""
        words = self.word_vectors
        digest = hashlib.sha256(self.vectors_fingerprint.encode())
        digest.update("\n".join(words.words).encode())
        digest.update(words.counts_V.tobytes())
        digest.update(words.vectors_VD.tobytes())
        return digest.hexdigest()[:16]

    @property
    def dimensions(self) -> int:
        """D, the length of a vector."""
        return self.reading.dimensions

    @property
    def tolerance(self) -> float:
        """How far a vector's numbers may lie from those of another processor or of a GPU."""
        return 5e-3 if self.reading.backend == "torch" else 1e-2

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Returns float32 [N, D]; a query longer than the model takes is cut."""
        return self._encoded(texts, self.reading.query_prompt)[0]

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Returns float32 [N, D]; a text longer than the model takes is cut."""
        return self._encoded(texts, self.reading.document_prompt)[0]

    def encode_passages(self, texts: Sequence[str]) -> EncodedPassages:
        """Returns the vectors of each document's passages."""
        parts, counts, spans, shortened = [], [], [], []
        for text, tokens in zip(texts, self._bodies(texts), strict=True):
            title, _, body = text.partition("\n")
            head, ranges = self._passages(title, body, tokens)
            counts.append(len(ranges))
            spans += ranges
            shortened.append(head != title)
            parts += [document_text(head, body[start:end]) for start, end in ranges]
        vectors_PD, is_cut_P = self._encoded(parts, self.reading.document_prompt)
        ends_N = np.cumsum(counts, dtype=np.int64)
        parts_cut = [part.any() for part in np.split(is_cut_P, ends_N)[:-1]]
        return EncodedPassages(
            vectors_PD,
            np.array(counts, np.int64),
            np.array(spans, np.int32).reshape(-1, 2),
            np.logical_or(parts_cut, shortened),
        )

    def query_tokens(self, text: str) -> list[int]:
        """Returns what the model reads of a query."""
        return list(self._tokenizer.encode(_read(self.reading.query_prompt, text)).ids)

    def document_tokens(self, text: str) -> list[int]:
        """Returns what the model reads of a document, or of its beginning."""
        return list(self._tokenizer.encode(_read(self.reading.document_prompt, text)).ids)

    def is_cut(self, query: str) -> bool:
        """Returns whether a query is longer than the model takes."""
        prompt = self.reading.query_prompt
        return self._length(prompt + query) > self._room

    def save(self, folder: Path) -> None:
        """Writes the encoder into a folder; sentence-transformers loads its model from there.

        Raises:
            InputError: queries are to be read in eight bits, and the model does not become that.
        """
        copy_model(self.model, folder / MODEL)
        made = self.model.parent / INT8
        if self.reading.backend == "int8" and made.exists():
            shutil.copyfile(made, folder / INT8)
        elif self.reading.backend == "int8":
            samples = [e.ids for e in self._tokenizer.encode_batch(list(_SAMPLE_TEXTS))]
            export_int8(folder / MODEL, folder / INT8, samples)
        write_words(folder, self.word_vectors)
        files = model_files(folder / MODEL)
        write_summary(folder, self.vectors_fingerprint, files, self.reading, self.facts)

    @classmethod
    def load(cls, folder: Path, device: str = "auto") -> "TransformerEncoder":
        """Reads an encoder; its weights are opened with the first text.

        Raises:
            DamagedVersion: a file is missing or not what was written.
        """
        _, reading, facts, fingerprint = read_summary(folder)
        return cls(read_words(folder), folder / MODEL, reading, facts, fingerprint, device)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        """The model's tokenizer; what is too long is cut."""
        tokenizer = _open_tokenizer(self.model)
        tokenizer.enable_truncation(self.reading.max_tokens)
        return tokenizer

    @cached_property
    def _whole(self) -> Tokenizer:
        """The model's tokenizer without a limit."""
        return _open_tokenizer(self.model)

    @cached_property
    def _texts(self) -> TextModel:
        if self.reading.backend == "int8":
            return OnnxModel(self.model.parent / INT8)
        return TorchModel.open(self.model, self.device)

    @cached_property
    def _room(self) -> int:
        """The tokens of a text that has no prompt."""
        return self.reading.max_tokens - int(self._whole.num_special_tokens_to_add(False))

    def _encoded(
        self, texts: Sequence[str], prompt: str
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Returns the vectors of texts, and which of these are longer than the model takes."""
        vectors_ND = np.zeros((len(texts), self.dimensions), np.float32)
        is_cut_N = np.zeros(len(texts), bool)
        full = [place for place, text in enumerate(texts) if text.strip()]
        if not full:
            return vectors_ND, is_cut_N
        read = self._tokenizer.encode_batch([_read(prompt, texts[place]) for place in full])
        is_cut_N[full] = [bool(each.overflowing) for each in read]
        ids = [each.ids for each in read]
        # texts of a length share a batch, the longest first: what does not fit in memory shows soon
        order = sorted(range(len(full)), key=lambda place: -len(ids[place]))
        found = self._texts.vectors([ids[place] for place in order])
        vectors_ND[[full[place] for place in order]] = unit(found[:, : self.dimensions])
        return vectors_ND, is_cut_N

    def _bodies(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """Returns the characters of each token of each body."""
        bodies = [text.partition("\n")[2] for text in texts]
        return [e.offsets for e in self._whole.encode_batch(bodies, add_special_tokens=False)]

    def _passages(
        self, title: str, body: str, tokens: list[tuple[int, int]]
    ) -> tuple[str, list[tuple[int, int]]]:
        """Returns what of the title each passage has, and the passages, ranges of the body."""
        prompt = self.reading.document_prompt
        before = self._length(_read(prompt, title))
        if not self.reading.split or before + len(tokens) <= self._room:
            return title, [(0, len(body))]
        most = max(self._room - self._least_body, self._room - len(tokens))
        if before > most:
            title = self._beginning(title, most - self._length(prompt))
            before = self._length(_read(prompt, title))
        room = max(self._room - before, self._least_body)
        ranges = passage_spans(tokens, sentence_starts(body), room, self.reading.overlap)
        ends = [tokens[end][0] if end < len(tokens) else len(body) for _, end in ranges]
        starts = [tokens[start][0] if start else 0 for start, _ in ranges]
        return title, list(zip(starts, ends, strict=True))

    def _beginning(self, text: str, num_tokens: int) -> str:
        """Returns so many tokens of a text, or all."""
        offsets = self._whole.encode(text, add_special_tokens=False).offsets[: max(num_tokens, 0)]
        return text[: offsets[-1][1]] if offsets else ""

    @cached_property
    def _least_body(self) -> int:
        """The tokens of a body that every passage has room for, beside prompt and title."""
        prompt = self._length(self.reading.document_prompt)
        return self._room - max(int(self._room * _TITLE_SHARE), prompt)

    def _check_room(self) -> None:
        """Checks that prompts and overlap leave room for texts.

        Raises:
            InputError: they do not.
        """
        reading = self.reading
        for name in ("query_prompt", "document_prompt"):
            if 2 * (taken := self._length(getattr(reading, name))) > self._room:
                raise InputError(
                    f"[dense] {name} has {taken} tokens, and with it a text has {self._room}; "
                    "shorten it to half of that at most"
                )
        if reading.split and 2 * reading.overlap >= self._least_body:
            raise InputError(
                f"[dense] passage_overlap is {reading.overlap}, too much for passages of "
                f"{reading.max_tokens} tokens, prompt and title included; it must be below "
                f"{-(-self._least_body // 2)}"
            )

    def _length(self, text: str) -> int:
        return len(self._whole.encode(text, add_special_tokens=False).ids)

    def _check_against(self, network: Any) -> None:
        """Checks that texts are read as sentence-transformers reads them.

        Raises:
            InputError: the model does something with texts that only its own library knows.
        """
        prompt = self.reading.document_prompt
        texts = [_read(prompt, text) for text in _SAMPLE_TEXTS]
        network.max_seq_length = self.reading.max_tokens
        theirs = unit(network.encode(texts, prompt="")[:, : self.dimensions])
        ids = [e.ids for e in self._tokenizer.encode_batch(texts)]
        given = TorchModel(network).vectors(ids)
        worst = float(np.abs(unit(given[:, : self.dimensions]) - theirs).max())
        if not worst <= _SAME:
            raise InputError(
                f"the model in {self.model} reads texts in a way of its own (vectors differ by "
                f"{worst:.2g} from those of its tokens); it cannot be used"
            )


def _open_tokenizer(model: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(model / TOKENIZER))
    except Exception as error:  # it raises plain exceptions
        raise DamagedVersion(f"{model / TOKENIZER} cannot be read: {error}") from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _read(prompt: str, text: str) -> str:
    """Returns a text as the tokenizer gets it; a document without a title begins with its body."""
    return prompt + text.strip()
