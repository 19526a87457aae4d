# Sourced by the scripts beside it: where things are.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
state=${HYDRAHIVE_CLUSTER:-$HOME/.hydrahive}   # pids, logs, runs and ledger of the cluster on this machine
[ -x "$here/../.venv/bin/ray" ] && export PATH="$(cd "$here/../.venv/bin" && pwd):$PATH"
set -a
. "$here/environment"
set +a
dashboard=http://127.0.0.1:${HYDRAHIVE_DASHBOARD_PORT:-8265}

fail() { echo "$(basename "$0"): error: $*" >&2; exit 1; }

# Whether the process whose pid a file holds is alive.
alive() { [ -s "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null; }

# End the process group whose pid a file holds: politely, and after so many seconds not.
end() {
    local pid; pid=$(cat "$1")
    kill -TERM "$pid" 2>/dev/null || true
    for _ in $(seq $(($2 * 5))); do kill -0 "$pid" 2>/dev/null || break; sleep 0.2; done
    kill -KILL -- "-$pid" 2>/dev/null || true
    rm -f "$1"
}

command -v ray >/dev/null || fail "ray is not on the PATH; run 'make cluster-up', which sets it up"
