"""A transformer's weights at work: tokens in, vectors out, by torch or by ONNX in eight bits.

Shapes: B texts of a batch, T tokens of the longest, D dimensions.
"""

import contextlib
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from rankwell.data.errors import DamagedVersion, InputError, MissingPackage, Unavailable

_CPU_TOKENS = 4096  # of a batch, padding included
_GPU_TOKENS = 1 << 17
_LEAST_COSINE = 0.98


class TextModel(Protocol):
    """Turns tokens into vectors, a batch at a time."""

    def vectors(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Returns the vectors of texts of similar lengths, as the model gives them: [N, D]."""


class TorchModel:
    """The model as sentence-transformers runs it: in full precision, on a GPU in bfloat16."""

    def __init__(self, network: Any, device: str = "cpu") -> None:
        """Takes a network that lies on a device."""
        self._network = network.eval()
        self._device = device

    @classmethod
    def open(cls, folder: Path, device: str = "auto") -> "TorchModel":
        """Opens the model; nothing is looked for outside of the folder."""
        chosen = torch_device(device)
        return cls(open_network(folder, chosen), chosen)

    def vectors(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Returns the vectors of texts of similar lengths, as the model gives them: [N, D]."""
        on_gpu = self._device == "cuda"
        limit = _GPU_TOKENS if on_gpu else _CPU_TOKENS
        found, first = [], 0
        half = torch.autocast("cuda", torch.bfloat16) if on_gpu else contextlib.nullcontext()
        pad = self._network.tokenizer.pad_token_id or 0
        with torch.inference_mode(), half:
            while first < len(ids):
                size = max(1, limit // max(len(ids[first]), 1))
                features = padded(ids[first : first + size], pad)
                features = {name: tensor.to(self._device) for name, tensor in features.items()}
                found.append(self._network(features)["sentence_embedding"].float().cpu())
                first += size
        return torch.cat(found).numpy()


class OnnxModel:
    """The model in eight bits, each text by itself.

    The scale of the activations is taken over all that is computed together: beside others a text
    would have another vector.
    """

    def __init__(self, path: Path) -> None:
        """Opens the file.

        Raises:
            DamagedVersion: it is not a model that ONNX Runtime reads.
            MissingPackage: onnxruntime is not installed.
        """
        runtime = _onnxruntime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1  # texts are spread over the cores, not matrices
        options.log_severity_level = 3
        try:
            self._session = runtime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its own exceptions have no common class
            raise DamagedVersion(f"{path} cannot be opened: {error}") from None

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(num_cores(), "encoding")

    def vectors(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Returns the vectors of texts, as the model gives them: [N, D]."""
        one = [self._one(ids[0])] if len(ids) == 1 else list(self._pool.map(self._one, ids))
        return np.concatenate(one)

    def _one(self, ids: Sequence[int]) -> NDArray[np.float32]:
        ids_1T = np.array([ids], np.int64)
        given = {"input_ids": ids_1T, "attention_mask": np.ones_like(ids_1T)}
        vectors_1D: NDArray[np.float32] = self._session.run(None, given)[0]
        return vectors_1D


def num_cores() -> int:
    """Returns the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # where there is no such call


def padded(ids: Sequence[Sequence[int]], pad: int) -> dict[str, torch.Tensor]:
    """Returns texts of tokens as the tensors that a model takes: int64 [B, T] each."""
    longest = max(map(len, ids))
    input_ids = torch.full((len(ids), longest), pad, dtype=torch.int64)
    mask = torch.zeros_like(input_ids)
    for row, tokens in enumerate(ids):
        input_ids[row, : len(tokens)] = torch.tensor(tokens)
        mask[row, : len(tokens)] = 1
    return {"input_ids": input_ids, "attention_mask": mask}


def torch_device(asked: str) -> str:
    """Returns cpu or cuda.

    Raises:
        Unavailable: a GPU is asked for, and torch sees no GPU.
    """
    if asked == "gpu" and not torch.cuda.is_available():
        built = "has no CUDA in it" if torch.version.cuda is None else "finds no GPU"
        raise Unavailable(
            f'[dense] device is "gpu", and torch {torch.__version__} {built}; install a build for '
            'the GPU and its driver, or set device = "auto"'
        )
    return "cuda" if asked != "cpu" and torch.cuda.is_available() else "cpu"


def open_network(folder: Path, device: str = "cpu", **how: Any) -> Any:
    """Opens a folder as sentence-transformers does, without any look at the network.

    Raises:
        InputError: the folder is missing, or holds something else than a text encoder.
        MissingPackage: sentence-transformers is not installed.
    """
    _check_folder(folder)
    library = _sentence_transformers()
    with _quiet():
        try:
            network = library.SentenceTransformer(
                str(folder),
                device=device,
                local_files_only=True,
                model_kwargs={"use_safetensors": True, **how},
            )
        except Exception as error:  # whatever a file that is none of its own makes it raise
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise InputError(f"{folder} is no model that can be used: {reason}") from None
    tokenizer = getattr(network, "tokenizer", None)
    if getattr(tokenizer, "backend_tokenizer", None) is None or not network.max_seq_length:
        raise InputError(
            f"{folder} holds a {type(network[0]).__name__}, not a transformer with a fast "
            "tokenizer; name the folder of a sentence-transformers model of text"
        )
    return network


def resolve_model(name: str, base: Path) -> Path:
    """Returns the folder of a model that is given by its folder or by its name on the hub.

    Args:
        name: a folder, absolute or relative to base; otherwise a name as `intfloat/e5-small-v2`.
        base: where relative folders begin.

    Raises:
        InputError: there is no such folder, and the hub does not have it.
    """
    folder = base / Path(name).expanduser()
    if folder.is_dir():
        return folder
    wrong = f"[dense] model is '{name}': there is no folder {folder}"
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise InputError(f"{wrong}; name the folder of a sentence-transformers model")
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise MissingPackage("sentence-transformers", "encoders") from None
    try:
        kept = ["*.json", "*.safetensors", "*.txt", "*.model"]
        return Path(snapshot_download(name, allow_patterns=kept))
    except Exception as error:  # no such name, no network, no right: the hub has many of its own
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(
            f"{wrong}, and no model of that name could be fetched ({reason}); without a network, "
            "copy the model to this machine and name its folder"
        ) from None


def export_int8(folder: Path, path: Path, samples: Sequence[Sequence[int]]) -> None:
    """Writes a model with its pooling as ONNX, its weights in eight bits for each channel.

    Args:
        folder: of the model.
        path: of the file.
        samples: tokens of some texts, for a comparison.

    Raises:
        InputError: the model cannot be exported, or its vectors change too much.
        MissingPackage: onnx or onnxruntime is not installed.
    """
    _onnxruntime()
    try:
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError:
        raise MissingPackage("onnx", "onnx") from None
    # eager attention is plain matrix products, which become eight bits; a fused one would not
    network = open_network(folder, attn_implementation="eager").eval()
    whole = path.with_suffix(".whole")
    given = padded([[7] * 16, [7] * 8], network.tokenizer.pad_token_id or 0)
    names = list(given)
    with _quiet(), torch.inference_mode():
        try:
            torch.onnx.export(
                _Exported(network),
                tuple(given.values()),
                str(whole),
                dynamo=False,
                input_names=names,
                output_names=["vectors"],
                dynamic_axes={**{name: {0: "B", 1: "T"} for name in names}, "vectors": {0: "B"}},
                opset_version=17,
            )
            quantize_dynamic(whole, path, weight_type=QuantType.QInt8, per_channel=True)
        except Exception as error:  # of the tracer, or of what it met in the model
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise InputError(
                f'{folder} cannot become ONNX ({reason}); set [dense] backend = "torch"'
            ) from None
        finally:
            whole.unlink(missing_ok=True)
    before, after = (
        TorchModel.open(folder, "cpu").vectors(samples),
        OnnxModel(path).vectors(samples),
    )
    cosine = float(
        np.mean(
            (before * after).sum(1)
            / np.linalg.norm(before, axis=1)
            / np.linalg.norm(after, axis=1).clip(1e-9)
        )
    )
    if not cosine >= _LEAST_COSINE:
        raise InputError(
            f"eight bits change the vectors of {folder} too much: their cosine is {cosine:.3f}, "
            f'wanted is {_LEAST_COSINE}; set [dense] backend = "torch"'
        )


class _Exported(torch.nn.Module):
    """A model whose arguments and result are tensors, as ONNX wants them."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        features = {"input_ids": input_ids, "attention_mask": attention_mask}
        vectors: torch.Tensor = self.network(features)["sentence_embedding"]
        return vectors


def has_onnx() -> bool:
    """Returns whether the packages of the `onnx` extra are installed."""
    try:
        _onnxruntime()
        import onnx  # noqa: F401
    except (ImportError, MissingPackage):
        return False
    return True


def _check_folder(folder: Path) -> None:
    """Checks what sentence-transformers would take for an encoder though it is none."""
    if not folder.is_dir():
        raise InputError(f"there is no model at {folder}; name the folder of one in [dense] model")
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError):
        config = {}
    for architecture in config.get("architectures") or ():
        if "ForSequenceClassification" in architecture:
            raise InputError(
                f"{folder} holds a {architecture}, which scores pairs or classes and gives no "
                "vectors; name the folder of a sentence-transformers model"
            )
    if not list(folder.rglob("*.safetensors")):
        raise InputError(
            f"{folder} has no weights in *.safetensors, the only form that is opened; save the "
            "model with a current sentence-transformers"
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Runs a block without what libraries print of their progress and of their own old names."""
    import logging

    from transformers.utils import logging as library

    bars = library.is_progress_bar_enabled()
    library.disable_progress_bar()  # type: ignore[no-untyped-call]
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
        if bars:
            library.enable_progress_bar()  # type: ignore[no-untyped-call]


def _sentence_transformers() -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import sentence_transformers
    except ImportError:
        raise MissingPackage("sentence-transformers", "encoders") from None
    return sentence_transformers


def _onnxruntime() -> ModuleType:
    try:
        import onnxruntime
    except ImportError:
        raise MissingPackage("onnxruntime", "onnx") from None
    module: ModuleType = onnxruntime
    return module
