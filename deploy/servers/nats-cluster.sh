#!/usr/bin/env bash
# nats-cluster.sh FOLDER: three nats-servers that keep three copies of everything.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/process.sh"
. "$here/tools.sh"
folder=$1

program=$(nats_server) || unavailable "$folder" "$(missing nats-server pypi)"
clients=() routes=() monitoring=()
for _ in 1 2 3; do
    clients+=("$(free_port)")
    routes+=("$(free_port)")
    monitoring+=("$(free_port)")
done
all_routes=$(printf ',nats://127.0.0.1:%s' "${routes[@]}")
all_clients=$(printf ',nats://127.0.0.1:%s' "${clients[@]}")
export NATS_STORE_DIR NATS_SYNC_INTERVAL=${NATS_SYNC_INTERVAL:-1m}
for i in 0 1 2; do
    NATS_STORE_DIR=$folder/store$i
    launch "$folder" "nats$i" TERM "$program" --config "$here/../../nats/server.conf" --name "nats$i" \
        --addr 127.0.0.1 --port "${clients[i]}" --http_port "${monitoring[i]}" \
        --cluster_name ulex --cluster "nats://127.0.0.1:${routes[i]}" --routes "${all_routes:1}"
done

# The three have elected who leads when every one of them names a leader.
has_leader() {
    # shellcheck disable=SC2016  # expanded by the inner shell
    timeout 2 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$0" && printf "GET /jsz HTTP/1.0\r\n\r\n" >&3 && cat <&3' "$1" \
        2>/dev/null | grep -q '"leader": *"[^"]'
}

for i in 0 1 2; do
    wait_until 30 "$folder/nats$i.pid" answers_200 "${monitoring[i]}" /healthz
    wait_until 30 "$folder/nats$i.pid" has_leader "${monitoring[i]}"
done
note "$folder" ULEX_TEST_NATS_CLUSTER_URL "${all_clients:1}"
note "$folder" ULEX_TEST_NATS_SERVER "$program"
