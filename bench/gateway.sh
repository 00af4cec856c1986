#!/usr/bin/env bash
# Builds and runs the measurement; see bench/src/bin/gateway.rs for what it does and takes. peers/install.sh installs the
# gateways that it is compared with.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# Thousands of streams are two connections each in every process.
ulimit -n "$(ulimit -Hn)"
exec cargo run --release --quiet -p agentry-bench --bin gateway -- "$@"
