#!/usr/bin/env bash
# What a step costs without a store, then on SQLite and, where AGENTRY_TEST_POSTGRES_URL names a server, on PostgreSQL: whole
# graphs on a worker. Arguments go to the second part: how many runs shall wait for a person (100,000 if you don't say), and one
# case alone. Then the same shapes in LangGraph, where `bench/peers/install.sh langgraph` has installed it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cargo run --release --quiet -p agentry-bench --bin engine
cargo run --release --quiet -p agentry-bench --bin durable -- "$@"
peer="${AGENTRY_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/agentry-peers}/langgraph/bin/python"
if [[ -x "$peer" ]]; then
    exec "$peer" bench/peers/on_langgraph.py
fi
echo "skipped: $peer is not there; bench/peers/install.sh langgraph installs LangGraph"
