#!/usr/bin/env bash
# Submit a training to a cluster as a job, show its log, and end as it ends: 0 only if it succeeded.
#
#   cluster/submit.sh CONFIG [options of hydrahive train]
#   RAY_API_SERVER_ADDRESS    the cluster's dashboard (default: the one that up.sh started here)
#
# Submitting again resumes a run that was stopped, killed or lost; a run that is being trained is refused.
set -euo pipefail
. "$(dirname "$0")/common.sh"
[ $# -ge 1 ] || fail "CONFIG is missing: the name of an experiment, or a file below this folder"

address=${RAY_API_SERVER_ADDRESS:-$dashboard}
job=hydrahive-$(date +%Y%m%d-%H%M%S)-$$
status() { ray job status --address "$address" "$job" 2>&1 | grep -oE '\b(PENDING|RUNNING|STOPPED|SUCCEEDED|FAILED)\b' | head -1; }

said=$(ray job submit --address "$address" --submission-id "$job" --no-wait \
    --working-dir . --runtime-env "$here/runtime_env.yaml" -- hydrahive train "$@" 2>&1) ||
    fail "$(echo "$said" | grep -E 'Error|rror:|refused|denied' | tail -1 | sed 's/^[A-Za-z.]*: //' || true)"
echo "job $job at $address"

# A log's end is not the job's: the connection that carries it may break.
while :; do
    ray job logs --address "$address" --follow "$job" 2>/dev/null || true
    case "$(status || true)" in
        SUCCEEDED) echo "job $job succeeded"; exit 0 ;;
        FAILED | STOPPED) fail "job $job has not succeeded; the same command goes on from its last checkpoint" ;;
    esac
    sleep 1
done
