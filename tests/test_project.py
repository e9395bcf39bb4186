"""What holds for the project as a whole."""

import ast
import dataclasses
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

import rankwell
from rankwell.cli import app
from rankwell.data.config import Config, config_from_mapping, load_config, render_config
from rankwell.serving.keys import KeyStore

REPOSITORY = Path(__file__).parent.parent
FRONT_DOOR = REPOSITORY / "src" / "rankwell"
MAY_IMPORT = {
    "data": set(),
    "training": {"data"},
    "evaluation": {"data"},
    "embeddings": {"data", "training", "evaluation"},
    "indexer": {"data", "training", "evaluation", "embeddings"},
    "ranker": {"data", "training", "evaluation", "embeddings", "indexer"},
    "serving": {"data", "training", "evaluation", "embeddings", "indexer", "ranker"},
}
PRODUCT = sorted(
    [
        *FRONT_DOOR.glob("*.py"),
        *(p for name in MAY_IMPORT for p in (REPOSITORY / name).rglob("*.py")),
    ]
)
SECTIONS = {field.name: getattr(Config(), field.name) for field in dataclasses.fields(Config)}
PICKLERS = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}


def imported(tree: ast.AST, package: str) -> Iterator[str]:
    """Yields the full name of everything that a module of a package imports, wherever it does."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            relative = "." * node.level + (node.module or "")
            module = importlib.util.resolve_name(relative, package)
            yield from (f"{module}.{alias.name}" for alias in node.names)


def forbidden(source: str, layer: str) -> set[str]:
    """Returns what a module of a layer imports although it must not."""
    allowed = MAY_IMPORT[layer] | {layer}
    found = set()
    for name in imported(ast.parse(source), f"rankwell.{layer}"):
        top, _, rest = name.partition(".")
        if (top == "rankwell" and rest.split(".")[0] not in allowed) or top in MAY_IMPORT:
            found.add(name)
    return found


@pytest.mark.parametrize("layer", MAY_IMPORT)
def test_a_layer_imports_only_layers_before_it(layer: str) -> None:
    files = sorted((REPOSITORY / layer).rglob("*.py"))
    assert files
    faults = {path.name: forbidden(path.read_text(), layer) for path in files}
    assert {name: found for name, found in faults.items() if found} == {}


@pytest.mark.parametrize(
    "line",
    [
        "from rankwell.ranker.pool import Pool",
        "def f():\n    import rankwell.serving.app",
        "from rankwell import ranker",
        "from rankwell import open",
        "import rankwell",
        "from ..ranker import pool",
        "from evaluation.measures import ndcg",
    ],
)
def test_the_check_of_layers_sees_every_form_of_import(line: str) -> None:
    assert forbidden(line, "indexer")
    assert not forbidden("from rankwell.data.errors import InputError\nimport json", "indexer")


def test_each_layer_is_linked_under_the_one_name_and_no_other_is() -> None:
    links = {path.name: path for path in FRONT_DOOR.iterdir() if path.is_dir()}
    links.pop("__pycache__", None)
    assert set(links) == set(MAY_IMPORT)
    for name, link in links.items():
        assert link.is_symlink()
        assert link.readlink() == Path("../..") / name
        assert link.resolve() == REPOSITORY / name


def test_every_public_name_exists_and_is_documented() -> None:
    assert sorted(rankwell.__all__) == rankwell.__all__
    assert {name for name in rankwell.__all__ if not getattr(rankwell, name).__doc__} == set()
    shown = {n for n in vars(rankwell) if not n.startswith("_")} - set(MAY_IMPORT) - {"cli", "demo"}
    assert shown == set(rankwell.__all__)


@pytest.mark.parametrize("path", PRODUCT, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_no_file_loads_a_pickle(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert {
        name for name in imported(tree, "rankwell.x") if name.split(".")[0] in PICKLERS
    } == set()
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        given = {key.arg: ast.unparse(key.value) for key in call.keywords}
        assert given.get("allow_pickle", "False") == "False", ast.unparse(call)
        if ast.unparse(call.func) == "torch.load":
            assert given.get("weights_only") == "True", ast.unparse(call)


@pytest.mark.parametrize(("name", "section"), SECTIONS.items())
def test_every_setting_has_its_sentence_in_the_written_configuration(
    name: str, section: object
) -> None:
    [written] = re.findall(rf"^# (.+)\n\[{name}\]\n((?:.+\n)+)", render_config(Config()), re.M)
    assert written[0] == (type(section).__doc__ or "").strip()
    lines = dict(re.findall(r"^# (\w+) = .*?    # (.+)$", written[1], re.M))
    assert lines == {key.name: key.metadata["doc"] for key in dataclasses.fields(section)}  # type: ignore[arg-type]
    assert all(len(sentence) > 10 for sentence in lines.values())


def test_the_written_configuration_reads_back_as_it_was() -> None:
    uncommented = re.sub(r"^# (?=\w+ = )", "", render_config(Config()), flags=re.M)
    assert config_from_mapping(tomllib.loads(uncommented)) == Config()
    assert uncommented.count(" = ") >= sum(len(dataclasses.fields(s)) for s in SECTIONS.values())


def commands_of_readme() -> list[list[str]]:
    """Returns the words of each rankwell command in the README's bash blocks."""
    blocks = re.findall(r"```(?:bash|sh)\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.split() for line in lines if line.split()[:1] == ["rankwell"]]


def test_every_command_of_the_readme_exists_with_its_options() -> None:
    commands = commands_of_readme()
    assert commands
    for _, *words in commands:
        command, depth = typer.main.get_command(app), 0
        while hasattr(command, "commands") and words[depth : depth + 1]:
            assert words[depth] in command.commands, f"rankwell {' '.join(words)}"
            command, depth = command.commands[words[depth]], depth + 1
        known = {option for parameter in command.params for option in parameter.opts}
        used = {word.split("=")[0] for word in words[depth:] if re.match(r"--?[a-z]", word)}
        assert used <= known, f"rankwell {' '.join(words)}"


def composed() -> dict[str, Any]:
    """Returns the docker compose configuration."""
    found: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
    return found


def test_the_compose_file_has_the_form_that_compose_reads() -> None:
    known = {
        "image",
        "build",
        "environment",
        "ports",
        "volumes",
        "healthcheck",
        "network_mode",
        "depends_on",
        "command",
    }
    file = composed()
    assert set(file) == {"name", "services", "volumes"}
    for name, service in file["services"].items():
        assert set(service) <= known, name
        assert ("image" in service) != ("build" in service)
        assert ":" in service.get("image", "tag:x").rpartition("/")[2]  # no image without its tag
        for other in service.get("depends_on", {}):
            assert other in file["services"]
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in file["volumes"]
        for port in service.get("ports", []):
            assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)
        shared = service.get("network_mode", "service:elasticsearch").removeprefix("service:")
        assert shared in file["services"]
    assert ":8." in file["services"]["elasticsearch"]["image"]


def test_the_composed_services_first_commands_configure_the_cluster_beside_it(
    tmp_path: Path,
) -> None:
    *_, script = composed()["services"]["rankwell"]["command"]
    first = script.split("rankwell index")[0]
    first = first.replace("/collection", str(tmp_path)).replace("/rankwell/", f"{REPOSITORY}/")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(["sh", "-ec", first], check=True, env={**os.environ, "PATH": path})
    config = load_config(tmp_path / "demo")
    assert config.lexical.engine == "elasticsearch"
    assert config.elasticsearch.urls == ("http://127.0.0.1:9200",)
    assert config.elasticsearch.replicas == 0


def composed_service() -> dict[str, Any]:
    """Returns the docker compose configuration of the service alone."""
    found: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.service.yml").read_text())
    [service] = found["services"].values()
    for volume in service["volumes"]:
        assert volume.split(":")[0] in found["volumes"]
    return dict(service)


def test_the_composed_service_is_published_on_loopback_without_rights_and_starts_with_a_key(
    tmp_path: Path,
) -> None:
    service = composed_service()
    assert service["ports"] == ["127.0.0.1:8080:8080"]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    *_, script = service["command"]
    assert "--host 0.0.0.0" in script
    first = script.split("rankwell index")[0]
    first = first.replace("/collection", str(tmp_path)).replace("/rankwell/", f"{REPOSITORY}/")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(["sh", "-ec", first], check=True, env={**os.environ, "PATH": path})
    key = (tmp_path / "demo" / "first-key").read_text().strip()
    found = KeyStore(tmp_path / "demo").find(key)
    assert found is not None
    assert found.roles == ("admin",)


def test_the_image_runs_as_nobody_special_and_from_a_second_stage() -> None:
    lines = (REPOSITORY / "Dockerfile").read_text().splitlines()
    stages = [line for line in lines if line.startswith("FROM ")]
    assert len(stages) == 2
    assert lines.index("USER rankwell") > lines.index(stages[1])
