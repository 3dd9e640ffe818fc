#!/usr/bin/env bash
# redis-cluster.sh FOLDER: a cluster of three Redis, each with a third of the slots and no copies.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/process.sh"
. "$here/tools.sh"
folder=$1

program=$(redis_server || valkey_server) || unavailable "$folder" "$(missing redis-server apt)"
ports=() buses=()
for i in 0 1 2; do
    ports+=("$(free_port)")
    buses+=("$(free_port)")
    mkdir -p "$folder/node$i"
    launch "$folder" "redis$i" TERM "$program" --bind 127.0.0.1 --port "${ports[i]}" --dir "$folder/node$i" \
        --save '' --appendonly no --cluster-enabled yes --cluster-port "${buses[i]}" --cluster-node-timeout 2000
done

# do_cluster PORT COMMAND: must be answered with OK.
do_cluster() {
    [[ $(redis_ask "$1" "$2") == +OK* ]] || { echo "port $1: $2: $(redis_ask "$1" "$2")" >&2; exit 1; }
}

is_whole() {
    local state
    state=$(redis_ask "$1" 'CLUSTER INFO')
    [[ $state == *cluster_state:ok* && $state == *cluster_known_nodes:3* && $state == *cluster_size:3* ]]
}

first=(0 5462 10923) last=(5461 10922 16383)
for i in 0 1 2; do
    wait_until 20 "$folder/redis$i.pid" redis_answers "${ports[i]}"
    do_cluster "${ports[i]}" "CLUSTER ADDSLOTSRANGE ${first[i]} ${last[i]}"
    do_cluster "${ports[i]}" "CLUSTER SET-CONFIG-EPOCH $((i + 1))"
done
for i in 1 2; do
    do_cluster "${ports[0]}" "CLUSTER MEET 127.0.0.1 ${ports[i]} ${buses[i]}"
done
for i in 0 1 2; do
    wait_until 30 "$folder/redis$i.pid" is_whole "${ports[i]}"
done
note "$folder" ULEX_TEST_REDIS_CLUSTER_URL \
    "redis+cluster://127.0.0.1:${ports[0]}?addr=127.0.0.1:${ports[1]}&addr=127.0.0.1:${ports[2]}"
