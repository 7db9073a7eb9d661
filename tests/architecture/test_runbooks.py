"""Laws of runbooks: every alert has one, and the commands in it exist."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from blocks.settings import PROJECT
from cli.app import app
from tasks.automations import read_automations

FOLDER = PROJECT / "docs" / "runbooks"
PAGES = sorted(path for path in FOLDER.glob("*.md") if path.stem != "README")
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands(page: Path, kind: str) -> list[str]:
    """Give the lines of a page's blocks of a kind: `bash` only looks, `bash changes` changes something."""
    return [
        line for info, text in BLOCK.findall(page.read_text()) if info == kind for line in text.splitlines()
    ]


def every_command() -> list[str]:
    return sorted(
        {line for page in PAGES for kind in ("bash", "bash changes") for line in commands(page, kind)}
    )


def links(page: Path) -> set[str]:
    return set(re.findall(r"\]\(([\w-]+)\.md\)", page.read_text()))


def test_every_automation_has_a_runbook_and_every_runbook_is_reached_from_one():
    named = {each["runbook"] for each in read_automations()}
    assert named <= {page.stem for page in PAGES}
    linked = named.union(*(links(FOLDER / f"{name}.md") for name in named))
    assert linked == {page.stem for page in PAGES} == links(FOLDER / "README.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_runbook_says_what_it_means_and_where_to_look_and_how_to_mend(page):
    text = page.read_text()
    parts = [text.index(f"**{part}.**") for part in ("What it means", "Look", "Mend")]
    assert parts == sorted(parts)
    assert commands(page, "bash")
    assert {info for info, _ in BLOCK.findall(text)} <= {"bash", "bash changes"}


@pytest.mark.parametrize("line", [line for line in every_command() if line.startswith("sales ")])
def test_a_command_of_ours_exists_with_its_options(line):
    command = typer.main.get_command(app)
    words = shlex.split(line)[1:]
    while words and hasattr(command, "commands"):
        assert words[0] in command.commands, line
        command = command.commands[words.pop(0)]
    assert not hasattr(command, "commands"), line
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words if word.startswith("--")} <= known


def test_a_command_of_prefect_exists_with_its_options():
    lines = [shlex.split(line) for line in every_command() if not line.startswith("sales ")]
    assert {words[0] for words in lines} == {"prefect"}
    verbs = sorted({tuple(words[1:3]) for words in lines})
    prefect = Path(sys.executable).with_name("prefect")
    asked = {
        verb: subprocess.Popen([prefect, *verb, "--help"], stdout=subprocess.PIPE, text=True)
        for verb in verbs
    }
    for verb, process in asked.items():
        shown, _ = process.communicate(timeout=120)
        assert process.returncode == 0, verb
        options = {w for words in lines if tuple(words[1:3]) == verb for w in words if w.startswith("--")}
        assert {option for option in options if option not in shown} == set(), verb
