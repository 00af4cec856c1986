#!/usr/bin/env bash
# Runs targets for so many seconds each: fuzz/run.sh SECONDS [TARGET…]. All of them when none is named.
# What fails is written to fuzz/findings; the exit code is 1 when something does.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds="${1:?usage: fuzz/run.sh SECONDS [TARGET…]}"
shift
targets=("$@")
if ((${#targets[@]} == 0)); then
  targets=(all)
fi
for target in "${targets[@]}"; do
  if [[ "$target" == all || "$target" == toml_config ]]; then
    # That one asks the command itself.
    cargo build --quiet --release --package agentry
    export AGENTRY_FUZZ_BINARY="${CARGO_TARGET_DIR:-$PWD/target}/release/agentry"
  fi
done
exec cargo run --quiet --release --manifest-path fuzz/Cargo.toml --target-dir "${CARGO_TARGET_DIR:-target}" -- \
  "${targets[@]}" --seconds "$seconds" --seed "${SEED:-1}"
