#!/usr/bin/env bash
# Submit a training to a cluster as a job: cluster/submit.sh CONFIG [options of hydrahive train]; see submit.py.
set -euo pipefail
. "$(dirname "$0")/common.sh"
export RAY_API_SERVER_ADDRESS=${RAY_API_SERVER_ADDRESS:-$dashboard}
exec python "$here/submit.py" "$@"
