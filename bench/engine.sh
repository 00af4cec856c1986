#!/usr/bin/env bash
# What a step costs without a store, then on SQLite and, where AGENTRY_TEST_POSTGRES_URL names a server, on PostgreSQL: whole
# graphs on a worker. How many runs shall wait for a person goes to the second part; 100,000 if you don't say.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cargo run --release --quiet -p agentry-bench --bin engine
exec cargo run --release --quiet -p agentry-bench --bin durable -- "$@"
