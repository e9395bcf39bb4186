"""Every command of the README runs, in its order, from a clone's root."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rankwell.cli import app

REPOSITORY = Path(__file__).parents[2]
QUICK = {
    "[words]\n": "[words]\ndimensions = 16\nepochs = 1\n",
    "[dense]\n": "[dense]\nencoder_epochs = 1\n",
}


def readme_commands() -> list[list[str]]:
    """The lines of the README's bash blocks that start with rankwell."""
    blocks = re.findall(r"```bash\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("rankwell ")]


@pytest.mark.timeout(240)
def test_every_command_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").symlink_to(REPOSITORY / "data")
    monkeypatch.chdir(tmp_path)
    commands = readme_commands()
    assert [command[0] for command in commands].count("new") == 2
    for command in commands:
        if command[0] == "serve":  # has tests of its own, and does not end
            continue
        # in this process: to start one for each would take longer than all else
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, (command, done.stderr, done.exception)
        if command[0] == "new":  # the same path with smaller vectors takes seconds
            config = tmp_path / command[1] / "rankwell.toml"
            text = config.read_text()
            for section, quick in QUICK.items():
                text = text.replace(section, quick)
            config.write_text(text)
    assert (tmp_path / "ranked.run").read_text().split()[1] == "Q0"
    shutil.rmtree(tmp_path / "my-collection")
