"""The process group: which GPU is whose."""

import socket

import pytest
import torch

from rankwell.training.group import process_group


@pytest.mark.parametrize(("place", "gpu"), [("1", 1), ("5", 1), (None, 0)])
def test_each_process_of_torchrun_has_a_gpu_of_its_own(
    monkeypatch: pytest.MonkeyPatch, place: str | None, gpu: int
) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    named = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    if place is None:
        monkeypatch.delenv("LOCAL_RANK", raising=False)
    else:
        monkeypatch.setenv("LOCAL_RANK", place)
    with process_group() as group:
        assert group.size == 1
    assert chosen == [gpu]
