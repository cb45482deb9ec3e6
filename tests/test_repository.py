"""Files that GitHub shows to people who report or propose something."""

import re

import yaml

from tests.conftest import REPOSITORY

FORMS = {path.stem: yaml.safe_load(path.read_text()) for path in (REPOSITORY / ".github/ISSUE_TEMPLATE").glob("*.yml")}


def test_a_bug_report_asks_for_version_command_and_error():
    required = [field["id"] for field in FORMS["bug"]["body"] if field.get("validations", {}).get("required")]
    assert required == ["version", "command", "error"]
    assert "`sdlcore --version`" in FORMS["bug"]["body"][0]["attributes"]["description"]


def test_forms_have_what_github_requires():
    assert set(FORMS) == {"bug", "request"}
    for form in FORMS.values():
        assert {"name", "description", "body"} <= form.keys()
        names = [field["id"] for field in form["body"]]
        assert len(set(names)) == len(names)
        for field in form["body"]:
            assert field["type"] in ("input", "textarea", "dropdown")
            assert field["attributes"]["label"]
            options = field["attributes"].get("options", [])
            assert (field["type"] == "dropdown") == bool(options)
            assert all(isinstance(option, str) for option in options)  # an unquoted yes is no text


def test_a_pull_request_is_asked_for_little():
    assert len((REPOSITORY / ".github/pull_request_template.md").read_text().splitlines()) <= 10


def test_files_that_the_security_policy_says_are_read_without_code_are():
    policy = (REPOSITORY / "SECURITY.md").read_text()
    assert "`weights_only=True`" in policy
    sources = "\n".join(path.read_text() for path in (REPOSITORY / "src").rglob("*.py"))
    loads = re.findall(r"\btorch\.load\((.*)\)", sources)
    assert loads
    assert all("weights_only=True" in arguments for arguments in loads)
    assert not re.search(r"trust_remote_code=True|allow_pickle=True|\bimport pickle\b|yaml\.(unsafe_)?load\(", sources)
