#!/usr/bin/env bash
# Builds and runs the measurement; see bench/src/bin/ingest.rs for what it does and takes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec cargo run --release --quiet -p agentry-bench --bin ingest -- "$@"
