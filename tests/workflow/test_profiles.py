"""Workflow profiles agree with the rules. Tests marked slurm run Slurm's."""

import re

import yaml

from sdlstudy.configuration.loading import load_yaml, validate
from tests.conftest import REPOSITORY

SLURM = yaml.safe_load((REPOSITORY / "workflow/profiles/slurm/profile.yaml").read_text())
RULES = "".join(file.read_text() for file in sorted((REPOSITORY / "workflow/rules").glob("*.smk")))


def test_only_rules_that_exist_are_grouped():
    products = validate(load_yaml(REPOSITORY / "config/config.yaml")).products()
    rules = {*re.findall(r"^ *rule (\w+):", RULES, flags=re.MULTILINE), *(f"make_{name}" for name in products)}
    assert SLURM["groups"].keys() <= rules
    assert SLURM["group-components"].keys() <= set(SLURM["groups"].values())


def test_no_rule_that_needs_the_network_is_sent_to_a_node():
    # Snakemake runs a group on this machine if any of its rules is local
    local = re.findall(r"^ *rule (\w+):\n(?:(?!^ *rule ).*\n)*? +localrule: True", RULES, flags=re.MULTILINE)
    assert {"fetch", "fashion_mnist", "plan"} == set(local)
    assert not set(local) & SLURM["groups"].keys()


def test_what_a_job_may_hold_at_most_is_what_it_may_hold_itself_not_all_jobs_together():
    scopes = SLURM["set-resource-scopes"]
    assert all(scopes[resource] == "local" for resource in SLURM["resources"])
