"""GPUs: the one place where faiss-gpu is called.

FAISS asks for one search at a time for each GPU, takes no selectors there, and gives 2048 hits out
of 2048 lists at most (GPU_MAX_SELECTION_K in its DeviceDefs.cuh); `sharing.py` sees to the first,
calibration to the lists, the engine to the others.

Shapes: P vectors, D dimensions.
"""

import ctypes
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from rankwell.data.errors import ConfigError, Unavailable
from rankwell.indexer.dense.kinds import EXACT, Plan
from rankwell.indexer.dense.library import core, first_line, knob, load_faiss, read_index
from rankwell.indexer.vectors import DocumentVectors, in_single

MOST_HITS = 2048
MOST_LISTS = 2048
_SCRATCH_BYTES = 512_000_000  # for the searches themselves, on each GPU
_MARGIN = 1.1  # lists are longer than what they hold
_ID_BYTES = 8


@dataclass(frozen=True, slots=True)
class Gpus:
    """The GPUs that FAISS sees.

    Attributes:
        faiss: the library.
        num: how many.
    """

    faiss: ModuleType
    num: int

    def free_bytes(self) -> list[int]:
        """Returns the free memory of each."""
        return [_free_bytes(number) for number in range(self.num)]

    def for_building(self, index: Any) -> Any:
        """Returns an index without vectors on the first GPU, to be trained and filled there."""
        (resources,) = self._resources(1)
        return self.faiss.index_cpu_to_gpu(resources, 0, index, self._options())

    def for_search(self, index: Any) -> Any:
        """Returns an index spread over all GPUs by FAISS's own cloner, in half precision."""
        resources = self._resources(self.num)
        return self.faiss.index_cpu_to_gpu_multiple_py(resources, index, self._options())

    def on_cpu(self, index: Any) -> Any:
        """Returns an index of a GPU as one that any machine opens."""
        return self.faiss.index_gpu_to_cpu(index)

    def _resources(self, num: int) -> list[Any]:
        made = [self.faiss.StandardGpuResources() for _ in range(num)]
        for resources in made:
            resources.setTempMemory(_SCRATCH_BYTES)
        return made

    def _options(self) -> Any:
        options = self.faiss.GpuMultipleClonerOptions()
        options.useFloat16 = True
        options.shard = True
        return options


def find_gpus() -> Gpus:
    """Returns the GPUs of this machine.

    Raises:
        Unavailable: there is none, or FAISS cannot use it.
    """
    faiss = load_faiss()
    if not hasattr(faiss, "StandardGpuResources"):
        raise Unavailable(
            "FAISS is installed without its GPU part; take the place of faiss-cpu with: pip "
            "uninstall faiss-cpu; pip install 'rankwell[gpu]'"
        )
    num = int(faiss.get_num_gpus())
    if not num:
        raise Unavailable("faiss-gpu finds no GPU; look at nvidia-smi and at CUDA_VISIBLE_DEVICES")
    return Gpus(faiss, num)


def gpus_for(device: str, plan: Plan, dimensions: int) -> tuple[Gpus | None, str]:
    """Returns the GPUs that an index goes to, None for the CPU, and where that is in words.

    Args:
        device: cpu, gpu, or auto: a GPU where there is one that takes such an index.
        plan: of the index.
        dimensions: of its vectors.

    Raises:
        Unavailable: a GPU is asked for, and there is none.
        ConfigError: a GPU is asked for, and the kind of index is none for it.
    """
    if device == "cpu":
        return None, "on the CPU"
    try:
        gpus = find_gpus()
        _check_kind(plan, dimensions)
    except (Unavailable, ConfigError) as error:
        if device == "gpu":
            raise
        return None, f"on the CPU: {error}"
    return gpus, f"on {gpus.num} GPU{'s' * (gpus.num > 1)}"


def gpu_bytes(plan: Plan, num_vectors: int, dimensions: int) -> int:
    """Returns how much GPU memory an index takes; searches take scratch space beside it."""
    if plan.kind == EXACT:
        return 2 * num_vectors * dimensions
    faiss = load_faiss()
    index = faiss.index_factory(dimensions, plan.factory, faiss.METRIC_INNER_PRODUCT)
    inner = core(faiss, index)
    lists = inner.nlist * dimensions * 4 if isinstance(inner, faiss.IndexIVF) else 0
    return int(_MARGIN * num_vectors * (inner.code_size + _ID_BYTES)) + lists


def check_memory(plan: Plan, num_vectors: int, dimensions: int, free_bytes: list[int]) -> None:
    """Checks that an index fits into GPUs.

    Raises:
        Unavailable: it does not.
    """
    needed = gpu_bytes(plan, num_vectors, dimensions)
    free = sum(max(0, each - _SCRATCH_BYTES) for each in free_bytes)
    if needed > free:
        raise Unavailable(
            f"the vector index {plan.factory} needs {needed / 1e9:,.1f} GB of GPU memory, and "
            f"{free / 1e9:,.1f} GB are free beside {_SCRATCH_BYTES / 1e9:,.1f} GB for searches on "
            'each; choose a smaller [vectors] index, or device = "cpu"'
        )


def searchable(gpus: Gpus, plan: Plan, path: Path, effort: int, vectors: DocumentVectors) -> Any:
    """Returns an index on the GPUs; that of exact search holds the vectors in half precision.

    Args:
        gpus: where it goes.
        plan: of the index.
        path: of its file.
        effort: how many lists a search looks at.
        vectors: that it holds.

    Raises:
        Unavailable: it does not fit, a search needs more lists than a GPU looks at, or FAISS has
            another reason.
        DamagedVersion: its file cannot be read.
    """
    faiss = load_faiss()
    check_memory(plan, len(vectors.vectors_PD), vectors.dimensions, gpus.free_bytes())
    if plan.kind == EXACT:  # the cloner knows no quantiser without lists
        index = faiss.IndexFlatIP(vectors.dimensions)
        for _, block in vectors.blocks():
            index.add(in_single(block))
    else:  # read, not mapped: it is copied as a whole
        index = read_index(faiss, path)
        if knob(faiss, index) == "nprobe":  # the cloner takes it along
            if effort > MOST_LISTS:
                raise Unavailable(
                    f"the vector index {plan.factory} is searched with nprobe {effort}, and a GPU "
                    f"takes {MOST_LISTS:,} at most; calibrate it for one: set [vectors] device to "
                    '"gpu" or "auto", and run rankwell index --full'
                )
            core(faiss, index).nprobe = effort
    try:
        return gpus.for_search(index)
    except RuntimeError as error:
        raise Unavailable(
            f"FAISS cannot put {plan.factory} on the GPU: {first_line(error)}"
        ) from None


def _check_kind(plan: Plan, dimensions: int) -> None:
    """Checks that the cloner takes a kind of index.

    Raises:
        ConfigError: it does not.
    """
    if plan.kind == EXACT:
        return
    faiss = load_faiss()
    index = faiss.index_factory(dimensions, plan.factory, faiss.METRIC_INNER_PRODUCT)
    inner = core(faiss, index)
    known = (faiss.IndexFlat, faiss.IndexIVFFlat, faiss.IndexIVFScalarQuantizer, faiss.IndexIVFPQ)
    if not isinstance(inner, known):
        raise ConfigError(
            f"[vectors] index {plan.factory} is none for a GPU, which takes exact, ivf, and "
            "factory strings such as IVF4096,PQ48"
        )


def _free_bytes(number: int) -> int:
    """Returns the free memory of a GPU, as the driver says."""
    try:
        driver: Any = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise Unavailable(f"the driver of the GPU cannot be loaded: {error}") from None
    device, context = ctypes.c_int(), ctypes.c_void_p()
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    for name, *arguments in (
        ("cuInit", 0),
        ("cuDeviceGet", ctypes.byref(device), number),
        ("cuDevicePrimaryCtxRetain", ctypes.byref(context), device),
        ("cuCtxPushCurrent_v2", context),
        ("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total)),
        ("cuCtxPopCurrent_v2", ctypes.byref(context)),
        ("cuDevicePrimaryCtxRelease_v2", device),
    ):
        if status := getattr(driver, str(name))(*arguments):
            raise Unavailable(f"GPU {number} does not answer: {name} gives error {status}")
    return free.value
