#!/usr/bin/env bash
# Diagnoses one large incident (1,000 series × 60 points, 100,000 log lines, 20,000 spans) several times.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec cargo run --release --quiet -p agentry-incident --example diagnose_bench -- "$@"
