#!/usr/bin/env bash
# Durable commits per second with 1 and 64 producers, and records per second of an intake, on SQLite.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec cargo run --release --quiet -p agentry-backends --example store_bench -- "$@"
