#!/usr/bin/env bash
# Beside peers.yml, whose dependencies pip installs; the reasons stand in benchmarks/requirements-alone.txt.
set -euo pipefail
python -m pip install --no-deps dictionary-learning==0.1.0
