# Sourced by the scripts beside it: where things are.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
state=$(realpath -m "${HYDRAHIVE_CLUSTER:-$HOME/.hydrahive}")   # pids, logs, runs and ledger of the cluster on this machine
[ -x "$here/../.venv/bin/ray" ] && export PATH="$(cd "$here/../.venv/bin" && pwd):$PATH"
set -a
. "$here/environment"
set +a
dashboard=http://127.0.0.1:${HYDRAHIVE_DASHBOARD_PORT:-8265}

fail() { echo "$(basename "$0"): error: $*" >&2; exit 1; }

# When a process began, in the kernel's ticks: with its pid, that is who it is, also after a reboot.
began() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

# Note the process with this pid in a file.
note() { echo "$1 $(began "$1")" > "$2"; }

# Whether the process that a file notes is alive.
alive() {
    [ -s "$1" ] || return 1
    local pid ticks
    read -r pid ticks < "$1"
    [ -n "$ticks" ] && [ "$(began "$pid")" = "$ticks" ]
}

# End the process group of the process that a file notes: politely, and after so many seconds not.
end() {
    local pid ticks
    read -r pid ticks < "$1"
    kill -TERM "$pid" 2>/dev/null || true
    for _ in $(seq $(($2 * 5))); do alive "$1" || break; sleep 0.2; done
    kill -KILL -- "-$pid" 2>/dev/null || true
    rm -f "$1"
}

# Where the head says it is; nothing before it has.
head_address() { grep -oE "address='[^']+'" "$state/head.log" | head -1 | cut -d"'" -f2 || true; }

command -v ray >/dev/null || fail "ray is not on the PATH; run 'make cluster-up', which sets it up"
