#!/usr/bin/env bash
# End what `up.sh`, `node.sh` and `monitoring.sh` started on this machine, and nothing else. Runs and ledger stay.
set -euo pipefail
. "$(dirname "$0")/common.sh"

ended=
stop() {
    if alive "$state/$1.pid"; then
        end "$state/$1.pid" "$2"
        ended="$ended $1"
    fi
    rm -f "$state/$1.pid"
}
stop grafana 10
stop prometheus 10
stop node 60  # it hands its shards over
stop head 5   # what it could wait for ends with it
echo "ended:${ended:- nothing was up}"
