#!/usr/bin/env bash
# What a step costs without a store (bench/src/bin/engine.rs); then durable commits per second with 1 and 64 producers, and
# records per second of an intake, on SQLite.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cargo run --release --quiet -p agentry-bench --bin engine
cargo run --release --quiet -p agentry-bench --bin durable
exec cargo run --release --quiet -p agentry-backends --example store_bench -- "$@"
