#!/usr/bin/env bash
# A hive in one command: a cluster on this machine, a training on it, a gateway for volunteers, and a server that answers with
# its newest policy.
#
#   hive.sh [CONFIG [options of hydrahive train]]     (default: snake/hive, for as many workers as join)
#
# Ctrl-C ends the server and the gateway. The training goes on as a job of the cluster, which down.sh ends; the same command serves it again.
#
#   HYDRAHIVE_ACCOUNT                     an account to open for somebody who will work; its key is shown once
#   HYDRAHIVE_SERVE_HOST, _SERVE_PORT     where the server listens (default: 127.0.0.1, 8000)
#   HYDRAHIVE_GATEWAY_HOST, _GATEWAY_PORT where the gateway listens (default: 127.0.0.1, 8443)
#   HYDRAHIVE_CERTIFICATE, _CERTIFICATE_KEY   files for its TLS, without which it listens on this machine alone
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
server= gateway=
trap 'kill -TERM $follower $gateway $server 2>/dev/null || true; wait $gateway $server || true' EXIT
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
hydrahive gateway --address "$(head_address)" \
    --host "${HYDRAHIVE_GATEWAY_HOST:-127.0.0.1}" --port "${HYDRAHIVE_GATEWAY_PORT:-8443}" \
    ${HYDRAHIVE_CERTIFICATE:+--certificate "$HYDRAHIVE_CERTIFICATE"} \
    ${HYDRAHIVE_CERTIFICATE_KEY:+--certificate-key "$HYDRAHIVE_CERTIFICATE_KEY"} &
gateway=$!
hydrahive serve hive --wait --runs "$HYDRAHIVE_RUNS" --address "$(head_address)" \
    --host "${HYDRAHIVE_SERVE_HOST:-127.0.0.1}" --port "${HYDRAHIVE_SERVE_PORT:-8000}" &
server=$!
wait $server
