#!/usr/bin/env bash
# Installs packages without their dependencies, after pip has installed those of peers.yml. The reasons are in
# benchmarks/requirements-alone.txt.
set -euo pipefail
python -m pip install --no-deps dictionary-learning==0.1.0
