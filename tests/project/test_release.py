"""What a release is made of: pinned actions, one list of requirements, pages that the site has."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from tests import ROOT

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_by_hash_and_rights_are_few(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    used = re.findall(r"uses: (.*)", text)
    assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each) for each in used), used
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert "timeout-minutes" in job
        assert "secrets" not in str(job)
        assert set(job.get("permissions", ())) <= {"id-token", "pages"}


def test_one_action_has_one_hash() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in WORKFLOWS)
    pins: dict[str, set[str]] = {}
    for action, pin in re.findall(r"uses: ([\w./-]+)@(.*)", text):
        pins.setdefault(action, set()).add(pin)
    assert all(len(each) == 1 for each in pins.values()), pins


def test_the_release_builds_what_is_tested_and_publishes_only_that() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8"))["jobs"]
    commands = "\n".join(step.get("run", "") for step in jobs["build"]["steps"])
    for part in ("python -m build", "twine check --strict", "make test", "check specs/digits.yaml"):
        assert part in commands
    assert jobs["publish"]["needs"] == "build"
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    (upload,) = (step for step in jobs["publish"]["steps"] if "pypi-publish" in step["uses"])
    assert upload["with"] == {"attestations": True}


def test_the_recipe_for_conda_needs_what_the_project_needs() -> None:
    text = (ROOT / ".github/conda/recipe.yaml").read_text(encoding="utf-8")
    recipe = yaml.safe_load(text)
    needed = {each.replace(" ", "") for each in recipe["requirements"]["run"]} - {"python>=${{python_min}}"}
    assert needed == {each.replace("torch", "pytorch") for each in PROJECT["dependencies"]}
    assert recipe["package"]["name"] == PROJECT["name"]
    (start,) = recipe["build"]["python"]["entry_points"]
    assert start == f"graphspec = {PROJECT['scripts']['graphspec']}"


def test_addresses_agree() -> None:
    source = PROJECT["urls"]["Source"]
    assert PROJECT["urls"]["Issues"] == f"{source}/issues"
    assert PROJECT["urls"]["Changelog"] == f"{source}/blob/main/CHANGELOG.md"
    assert f"homepage: {source}" in (ROOT / ".github/conda/recipe.yaml").read_text(encoding="utf-8")


def test_the_changelog_begins_with_what_is_not_released() -> None:
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == "[Unreleased]"
