#!/usr/bin/env bash
# valkey.sh FOLDER: one Valkey that keeps nothing on disk.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/process.sh"
. "$here/tools.sh"
folder=$1

program=$(valkey_server) || unavailable "$folder" "$(missing valkey-server pypi)"
port=$(free_port)
launch "$folder" valkey TERM "$program" --bind 127.0.0.1 --port "$port" --dir "$folder" --save '' --appendonly no
wait_until 20 "$folder/valkey.pid" redis_answers "$port"
note "$folder" ULEX_TEST_VALKEY_URL "redis://127.0.0.1:$port"
note "$folder" ULEX_TEST_VALKEY_SERVER "$program"
