#!/usr/bin/env bash
# Installs what `cargo xtask bench gateway` and `cargo xtask bench engine` measure beside Agentry. Each goes into a folder of its
# own under $AGENTRY_PEERS (default: ~/.cache/agentry-peers), outside the tree; what is there already stays. Name peers to
# install only those: the gateways litellm, sglang-router and portkey, and langgraph.
set -euo pipefail
peers="${AGENTRY_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/agentry-peers}"
mkdir -p "$peers"

venv() { # FOLDER PACKAGE...
    local folder="$peers/$1"
    if [[ -e "$folder/installed" ]]; then
        echo "$folder is there"
        return
    fi
    shift
    python3 -m venv "$folder" &&
        "$folder/bin/pip" install --quiet --disable-pip-version-check "$@" &&
        touch "$folder/installed" &&
        echo "$folder is installed"
}

install() {
    case "$1" in
        # 1.109 wants a newer certifi than every mirror has.
        litellm) venv litellm 'litellm[proxy]<1.109' ;;
        sglang-router) venv sglang-router 'sglang-router==0.3.2' ;;
        langgraph) venv langgraph 'langgraph==1.2.22' 'langgraph-checkpoint-sqlite<4' ;;
        portkey)
            if [[ -e "$peers/portkey/installed" ]]; then
                echo "$peers/portkey is there"
                return
            fi
            mkdir -p "$peers/portkey" &&
                npm install --silent --no-audit --no-fund --prefix "$peers/portkey" '@portkey-ai/gateway@1.15.2' &&
                touch "$peers/portkey/installed" &&
                echo "$peers/portkey is installed"
            ;;
        *) echo "no peer is named $1: litellm, sglang-router, portkey, langgraph" >&2; return 2 ;;
    esac
}

[[ $# -gt 0 ]] || set -- litellm sglang-router portkey langgraph
failed=0
for peer in "$@"; do
    # One that cannot be installed keeps nobody from the others.
    install "$peer" || { echo "$peer: not installed" >&2; failed=1; }
done
exit "$failed"
