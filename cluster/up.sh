#!/usr/bin/env bash
# Bring up the head of a Ray cluster on this machine. Arguments go to `ray start`.
#
#   HYDRAHIVE_CLUSTER    folder of its pids, logs, runs and ledger (default: ~/.hydrahive)
#   HYDRAHIVE_RUNS       where runs go: a folder, or a URI such as s3://bucket/runs (default: in that folder)
#   HYDRAHIVE_LEDGER     the ledger's file, on a local disk (default: in that folder)
#   HYDRAHIVE_{PORT,DASHBOARD_PORT,CLIENT_PORT,AGENT_PORT,METRICS_PORT}
set -euo pipefail
. "$(dirname "$0")/common.sh"

mkdir -p "$state"
alive "$state/head.pid" && fail "a head is up already (process $(cut -d" " -f1 "$state/head.pid")); cluster/down.sh ends it"

export HYDRAHIVE_RUNS=${HYDRAHIVE_RUNS:-$state/runs}
export HYDRAHIVE_LEDGER=${HYDRAHIVE_LEDGER:-$state/ledger.sqlite}
case "$HYDRAHIVE_RUNS" in *://* | /*) ;; *) HYDRAHIVE_RUNS=$PWD/$HYDRAHIVE_RUNS ;; esac
case "$HYDRAHIVE_LEDGER" in /*) ;; *) HYDRAHIVE_LEDGER=$PWD/$HYDRAHIVE_LEDGER ;; esac
export HYDRAHIVE_COORDINATOR=$state/coordinator.sqlite
export RAY_PROMETHEUS_HOST=${RAY_PROMETHEUS_HOST:-http://127.0.0.1:${HYDRAHIVE_PROMETHEUS_PORT:-9090}}
export RAY_GRAFANA_HOST=${RAY_GRAFANA_HOST:-http://127.0.0.1:${HYDRAHIVE_GRAFANA_PORT:-3000}}
unset RAY_ADDRESS
declare -p HYDRAHIVE_RUNS HYDRAHIVE_LEDGER > "$state/places"

# The token: made once, readable by its owner only, never printed.
if [ -z "${RAY_AUTH_TOKEN:-}" ]; then
    token=${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}
    if [ ! -s "$token" ]; then
        mkdir -p -m 700 "$(dirname "$token")"
        (umask 077; python -c 'import secrets; print(secrets.token_hex(32), end="")' > "$token")
    fi
    chmod 600 "$token"
fi

setsid nohup ray start --head --block --disable-usage-stats --include-dashboard=true \
    --port="${HYDRAHIVE_PORT:-6379}" --dashboard-port="${HYDRAHIVE_DASHBOARD_PORT:-8265}" \
    --ray-client-server-port="${HYDRAHIVE_CLIENT_PORT:-10001}" \
    --dashboard-agent-listen-port="${HYDRAHIVE_AGENT_PORT:-52365}" \
    --metrics-export-port="${HYDRAHIVE_METRICS_PORT:-8080}" \
    --temp-dir="$state/ray" "$@" > "$state/head.log" 2>&1 < /dev/null &
note $! "$state/head.pid"

echo "starting the head (log: $state/head.log)"
for _ in $(seq 60); do
    alive "$state/head.pid" || { rm -f "$state/head.pid"; fail "$(grep -v '^ *$' "$state/head.log" | tail -1)"; }
    address=$(head_address)
    [ -n "$address" ] && ray job list --address "$dashboard" > /dev/null 2>&1 && break
    address=
    sleep 1
done
[ -n "$address" ] || fail "the dashboard at $dashboard does not answer; see $state/head.log"
# With the head, and not with the first job, whose environment is that job's own.
RAY_ADDRESS=$address python -m hydrahive.runtime.coordinator.start || fail "the coordinator did not start; see $state/head.log"

cat <<TEXT
the head is up at $address, its dashboard at $dashboard
runs      $(sed 's#//[^/@]*@#//#' <<< "$HYDRAHIVE_RUNS")
ledger    $HYDRAHIVE_LEDGER
a job     make submit CONFIG=snake/vtrace
a node    hydrahive worker --address $address    (on another machine, with the token in ~/.ray/auth_token)
figures   make monitoring
the end   make cluster-down
TEXT
