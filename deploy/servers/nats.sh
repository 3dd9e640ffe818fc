#!/usr/bin/env bash
# nats.sh FOLDER: one nats-server with JetStream.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/process.sh"
. "$here/tools.sh"
folder=$1

program=$(nats_server) || unavailable "$folder" "$(missing nats-server pypi)"
port=$(free_port)
monitoring=$(free_port)
export NATS_STORE_DIR=$folder/store NATS_SYNC_INTERVAL=${NATS_SYNC_INTERVAL:-1m}
launch "$folder" nats TERM "$program" --config "$here/../../nats/server.conf" \
    --addr 127.0.0.1 --port "$port" --http_port "$monitoring"
wait_until 20 "$folder/nats.pid" answers_200 "$monitoring" /healthz
note "$folder" ULEX_TEST_NATS_URL "nats://127.0.0.1:$port"
note "$folder" ULEX_TEST_NATS_SERVER "$program"
