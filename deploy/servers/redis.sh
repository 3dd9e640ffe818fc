#!/usr/bin/env bash
# redis.sh FOLDER: one Redis that keeps nothing on disk.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/process.sh"
. "$here/tools.sh"
folder=$1

program=$(redis_server) || unavailable "$folder" "$(missing redis-server apt)"
port=$(free_port)
launch "$folder" redis TERM "$program" --bind 127.0.0.1 --port "$port" --dir "$folder" --save '' --appendonly no
wait_until 20 "$folder/redis.pid" redis_answers "$port"
note "$folder" ULEX_TEST_REDIS_URL "redis://127.0.0.1:$port"
note "$folder" ULEX_TEST_REDIS_SERVER "$program"
