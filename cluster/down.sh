#!/usr/bin/env bash
# End what `up.sh`, `node.sh` and `monitoring.sh` started on this machine, and nothing else. Runs and ledger stay.
set -euo pipefail
. "$(dirname "$0")/common.sh"

ended=
for name in grafana prometheus node head; do
    if alive "$state/$name.pid"; then
        end "$state/$name.pid"
        ended="$ended $name"
    fi
    rm -f "$state/$name.pid"
done
echo "ended:${ended:- nothing was up}"
