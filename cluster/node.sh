#!/usr/bin/env bash
# Have this machine join a cluster in the background: cluster/node.sh HOST:PORT [options of hydrahive worker]
# Needs the cluster's token in ~/.ray/auth_token. `down.sh` has it leave: it hands its shards over first.
set -euo pipefail
. "$(dirname "$0")/common.sh"
[ $# -ge 1 ] || fail "HOST:PORT of the head is missing"

mkdir -p "$state"
alive "$state/node.pid" && end "$state/node.pid" 60
unset RAY_ADDRESS
setsid nohup hydrahive worker --address "$@" > "$state/node.log" 2>&1 < /dev/null &
note $! "$state/node.pid"
for _ in $(seq 60); do
    grep -qE '^(joined|waiting:)' "$state/node.log" && { tail -1 "$state/node.log"; exit 0; }
    alive "$state/node.pid" || { rm -f "$state/node.pid"; fail "$(tail -1 "$state/node.log")"; }
    sleep 1
done
fail "the node has not joined within a minute; see $state/node.log"
