#!/usr/bin/env bash
# The first run of rgru on a GPU, in one command: bash scripts/on_gpu.sh --out FOLDER
exec python3 "$(dirname "${BASH_SOURCE[0]}")/on_gpu" "$@"
