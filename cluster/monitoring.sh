#!/usr/bin/env bash
# Start Prometheus, and Grafana where it is installed, beside the head that `up.sh` started on this machine.
#
#   HYDRAHIVE_PROMETHEUS_PORT (9090)   HYDRAHIVE_GRAFANA_PORT (3000)
set -euo pipefail
. "$(dirname "$0")/common.sh"

alive "$state/head.pid" || fail "no head is up on this machine; 'make cluster-up' starts one"
command -v prometheus > /dev/null || fail "prometheus is not installed (Debian: apt-get install prometheus)"

port=${HYDRAHIVE_PROMETHEUS_PORT:-9090}
mkdir -p "$state/monitoring/data"
cp "$here/monitoring/prometheus.yml" "$here/monitoring/alerts.yml" "$state/monitoring/"
ln -sfn "$state/ray/prom_metrics_service_discovery.json" "$state/monitoring/service_discovery.json"
open() { (exec 3<> "/dev/tcp/127.0.0.1/$1") 2> /dev/null; }

if alive "$state/prometheus.pid"; then
    echo "prometheus is up already"
else
    open "$port" && fail "port $port is taken, perhaps by a Prometheus of the system's; set HYDRAHIVE_PROMETHEUS_PORT"
    setsid nohup prometheus --config.file="$state/monitoring/prometheus.yml" \
        --storage.tsdb.path="$state/monitoring/data" --web.listen-address="127.0.0.1:$port" \
        > "$state/prometheus.log" 2>&1 < /dev/null &
    note $! "$state/prometheus.pid"
    for _ in $(seq 100); do
        alive "$state/prometheus.pid" || { rm -f "$state/prometheus.pid"; fail "$(tail -1 "$state/prometheus.log")"; }
        open "$port" && break
        sleep 0.2
    done
    open "$port" || fail "prometheus does not answer at port $port; see $state/prometheus.log"
fi
echo "prometheus  http://127.0.0.1:$port"

grafana=$(command -v grafana || command -v grafana-server || true)
if [ -z "$grafana" ]; then
    echo "grafana     is not installed; import k8s/components/monitoring/hydrahive.json where there is one"
    exit 0
fi
home=${GRAFANA_HOME:-/usr/share/grafana}
export HYDRAHIVE_PROMETHEUS=http://127.0.0.1:$port HYDRAHIVE_DASHBOARDS=$here/../k8s/components/monitoring
export GF_PATHS_PROVISIONING=$here/monitoring/grafana/provisioning GF_PATHS_DATA=$state/monitoring/grafana
export GF_SERVER_HTTP_ADDR=127.0.0.1 GF_SERVER_HTTP_PORT=${HYDRAHIVE_GRAFANA_PORT:-3000}
export GF_SECURITY_ALLOW_EMBEDDING=true GF_AUTH_ANONYMOUS_ENABLED=true GF_ANALYTICS_REPORTING_ENABLED=false
if ! alive "$state/grafana.pid"; then
    case "$(basename "$grafana")" in grafana) set -- server ;; *) set -- ;; esac
    setsid nohup "$grafana" "$@" --homepath "$home" > "$state/grafana.log" 2>&1 < /dev/null &
    note $! "$state/grafana.pid"
    sleep 1
    alive "$state/grafana.pid" || { rm -f "$state/grafana.pid"; fail "$(tail -1 "$state/grafana.log")"; }
fi
echo "grafana     http://127.0.0.1:$GF_SERVER_HTTP_PORT/d/hydrahive"
