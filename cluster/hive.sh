#!/usr/bin/env bash
# A hive in one command: a cluster on this machine, a training on it, and a server that answers with its newest policy.
#
#   hive.sh [CONFIG [options of hydrahive train]]     (default: snake/hive, for as many workers as join)
#
# Ctrl-C ends the server. The training goes on as a job of the cluster, which down.sh ends; the same command serves it again.
#
#   HYDRAHIVE_ACCOUNT                     an account to open for somebody who will work; its key is shown once
#   HYDRAHIVE_SERVE_HOST, _SERVE_PORT     where the server listens (default: 127.0.0.1, 8000)
#   and what up.sh reads
set -euo pipefail
. "$(dirname "$0")/common.sh"
alive "$state/head.pid" || "$here/up.sh"
[ ! -e "$state/places" ] || . "$state/places"   # where this head has runs and ledger, whatever this shell says
export HYDRAHIVE_RUNS=${HYDRAHIVE_RUNS:-$state/runs}
export HYDRAHIVE_LEDGER=${HYDRAHIVE_LEDGER:-$state/ledger.sqlite}
if [ -n "${HYDRAHIVE_ACCOUNT:-}" ]; then
    said=$(hydrahive ledger accounts open "$HYDRAHIVE_ACCOUNT" 2>&1) && echo "$said" || case $said in
        *"open already"*) echo "account $HYDRAHIVE_ACCOUNT is open already, and keeps its key" ;;
        *) fail "${said#hydrahive: error: }" ;;
    esac
fi

config=${1:-snake/hive}
shift || true
"$here/submit.sh" "$config" --name hive --workers auto "$@" > "$state/hive.log" 2>&1 &
follower=$!
server=
trap 'kill -TERM $follower $server 2>/dev/null || true; [ -z "$server" ] || wait $server || true' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trains() { grep -qE "hive: (starting|resuming)" "$state/hive.log"; }
until trains; do
    kill -0 $follower 2>/dev/null || break
    sleep 0.5
done
if trains; then
    echo "training hive as a job (log: $state/hive.log); hydrahive stop hive --address $(head_address) ends it"
elif grep -qE "run 'hive' is (being trained by another process|finished already)" "$state/hive.log"; then
    echo "hive is trained already, or still is; hydrahive stop hive --address $(head_address) ends that"
else
    fail "no training: $(grep -v '^ *$' "$state/hive.log" | tail -1)"
fi
hydrahive serve hive --wait --runs "$HYDRAHIVE_RUNS" --address "$(head_address)" \
    --host "${HYDRAHIVE_SERVE_HOST:-127.0.0.1}" --port "${HYDRAHIVE_SERVE_PORT:-8000}" &
server=$!
wait $server
