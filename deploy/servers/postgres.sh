#!/usr/bin/env bash
# postgres.sh FOLDER: PostgreSQL with a database "ulex". It refuses to be root and is another account then.
# Nothing is written through to the disk: it is fast and survives anything but a crash of the machine.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/process.sh"
. "$here/tools.sh"
folder=$1

programs=$(postgres_bin) || unavailable "$folder" "$(missing postgres apt)"
data=$folder/data
account=()
if [ "$(id -u)" = 0 ]; then
    user=nobody
    ! id postgres >/dev/null 2>&1 || user=postgres
    account=(setpriv "--reuid=$user" "--regid=$(id -g "$user")" --clear-groups)
    mkdir -p "$data"
    chown -R "$user" "$data"
    "${account[@]}" test -w "$data" || unavailable "$folder" "the account $user may not enter $data"
fi
cd /
if [ ! -e "$data/PG_VERSION" ]; then
    "${account[@]}" "$programs/initdb" --pgdata "$data" --username ulex --auth trust --encoding UTF8 --locale C --no-sync \
        >"$folder/initdb.log" 2>&1 || { tail -n 5 "$folder/initdb.log" >&2; exit 1; }
fi
port=$(free_port)
launch "$folder" postgres INT "${account[@]}" "$programs/postgres" -D "$data" -h 127.0.0.1 -p "$port" \
    -c unix_socket_directories= -c fsync=off -c full_page_writes=off -c max_connections=300 \
    -c log_min_messages=warning

answers_query() {
    "$programs/psql" --no-psqlrc --quiet --host 127.0.0.1 --port "$port" --username ulex --dbname postgres \
        --command "$1" >/dev/null 2>&1
}

wait_until 30 "$folder/postgres.pid" answers_query 'select 1'
answers_query 'create database ulex' || answers_query "do \$\$ begin
    if not exists (select from pg_database where datname = 'ulex') then raise 'no database'; end if; end \$\$"
note "$folder" ULEX_TEST_POSTGRES_URL "postgres://ulex@127.0.0.1:$port/ulex?sslmode=disable"
note "$folder" ULEX_TEST_POSTGRES_BIN "$programs"
