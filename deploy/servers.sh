#!/usr/bin/env bash
# Throw-away servers for tests: NATS (one, and a cluster of three), PostgreSQL, Redis, Valkey and a Redis cluster of three, as
# plain processes on loopback, on ports that were free, in a folder that is deleted with them. No Docker.
#
#   deploy/servers.sh up [SERVER...]       start all or these, for this checkout; what cannot be had is skipped and said
#   deploy/servers.sh env                  print their addresses, as export lines
#   deploy/servers.sh down                 stop them and delete what they kept
#   deploy/servers.sh with COMMAND...      start servers of its own, run the command with their addresses, stop them
#   deploy/servers.sh test [COMMAND...]    the same with the tests that need servers; COMMAND runs while they start
#
# SERVER is nats, nats-cluster, postgres, redis, valkey or redis-cluster. ULEX_SERVERS_DIR is the folder to use instead of
# a new one; ULEX_SERVERS_INSTALL=no uses only what is there.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
here=$root/deploy/servers
# shellcheck source=servers/process.sh
. "$here/process.sh"
# shellcheck source=servers/tools.sh
. "$here/tools.sh"

every_server=(nats nats-cluster postgres redis valkey redis-cluster)
# Where `up` remembers its folder for `env` and `down`.
remembered=$root/.servers/folder

# A new folder, or the one that was asked for; PostgreSQL's account must be able to pass through.
new_folder() {
    local folder=${ULEX_SERVERS_DIR:-}
    if [ -z "$folder" ]; then
        folder=$(mktemp -d "${TMPDIR:-/tmp}/ulex-servers.XXXXXX")
    fi
    mkdir -p "$folder"
    chmod 711 "$folder"
    (cd "$folder" && pwd)
}

# start_one FOLDER SERVER: leaves FOLDER/SERVER/{variables,skipped,failed}. A second try is for a port that was lost after
# all.
start_one() {
    local folder=$1/$2 server=$2
    for _ in 1 2; do
        rm -rf "$folder"
        mkdir -p "$folder"
        if bash "$here/$server.sh" "$folder" >"$folder/start.log" 2>&1; then
            return
        fi
        stop_all "$folder"
    done
    echo "did not start, see below" >"$folder/failed"
}

# start_all FOLDER SERVER...: all at once. Says what happened; fails if a server that is there did not start.
start_all() {
    local folder=$1 server status=0 before=$SECONDS
    shift
    install_missing "$@"
    for server in "$@"; do
        start_one "$folder" "$server" &
    done
    wait
    for server in "$@"; do
        if [ -e "$folder/$server/failed" ]; then
            echo "failed: $server"
            sed 's/^/    /' "$folder/$server/start.log"
            status=1
        elif [ -e "$folder/$server/skipped" ]; then
            echo "skipped: $server ($(cat "$folder/$server/skipped"))"
        else
            echo "up: $server"
        fi
    done >&2
    echo "servers: $((SECONDS - before)) s, in $folder" >&2
    return $status
}

# The variables of the servers in FOLDER, as lines that a shell can read.
variables() {
    local name value
    find "$1" -mindepth 2 -maxdepth 2 -name variables -exec cat {} + 2>/dev/null | sort -u |
        while IFS='=' read -r name value; do
            printf 'export %s=%q\n' "$name" "$value"
        done
}

remove() {
    stop_all "$1"
    rm -rf "$1"
}

# The folder of `up`, if it is there.
current() {
    local folder=${ULEX_SERVERS_DIR:-}
    [ -n "$folder" ] || folder=$(cat "$remembered" 2>/dev/null) || true
    [ -n "$folder" ] && [ -d "$folder" ] || {
        echo "no servers are up for $root" >&2
        return 1
    }
    echo "$folder"
}

up() {
    local folder servers=("$@") server
    [ $# -gt 0 ] || servers=("${every_server[@]}")
    for server in "${servers[@]}"; do
        [[ " ${every_server[*]} " == *" $server "* ]] || {
            echo "unknown server: $server (known: ${every_server[*]})" >&2
            exit 2
        }
    done
    if folder=$(current 2>/dev/null) && [ -n "$(find "$folder" -name '*.pid' -print -quit)" ]; then
        echo "servers are up already in $folder; stop them first: $0 down" >&2
        exit 1
    fi
    folder=$(new_folder)
    mkdir -p "$(dirname "$remembered")"
    echo "$folder" >"$remembered"
    start_all "$folder" "${servers[@]}"
}

down() {
    local folder
    folder=$(current) || return 0
    remove "$folder"
    rm -f "$remembered"
    echo "stopped" >&2
}

# run COMMAND...: its status is ours. A signal to this script reaches everything that the command has started.
run() {
    local child status=0
    # Whoever types at a terminal wants to talk to the command, which gets Ctrl-C from the terminal itself.
    if [ -t 0 ]; then
        "$@"
        return
    fi
    set -m
    "$@" <&0 &
    child=$!
    set +m
    # shellcheck disable=SC2064  # the number of now is meant
    trap "kill -s INT -- -$child 2>/dev/null" INT
    # shellcheck disable=SC2064
    trap "kill -s TERM -- -$child 2>/dev/null" TERM
    wait "$child" || status=$?
    # A signal ends the first wait before the child has ended.
    while kill -0 "$child" 2>/dev/null; do
        status=0
        wait "$child" || status=$?
    done
    trap 'exit 130' INT
    trap 'exit 143' TERM
    return $status
}

# Servers that end with this script, however it ends.
own_servers() {
    own=$(new_folder)
    # A second signal must not leave servers behind, nor may those be that are starting just now.
    trap 'trap "" INT TERM; wait; remove "$own"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

with() {
    [ $# -gt 0 ] || { echo "usage: $0 with COMMAND..." >&2; exit 2; }
    own_servers
    start_all "$own" "${every_server[@]}"
    eval "$(variables "$own")"
    run "$@"
}

test_suites() {
    local starting started=0
    own_servers
    # While they start, which may include getting them, something else can be compiled and tested.
    start_all "$own" "${every_server[@]}" 2>"$own/said" &
    starting=$!
    if [ $# -gt 0 ]; then
        run "$@"
    fi
    wait "$starting" || started=$?
    cat "$own/said" >&2
    eval "$(variables "$own")"
    # shellcheck source=servers/suites.sh
    . "$here/suites.sh"
    run run_suites "$root" "$own" || return $?
    return $started
}

command=${1:-}
[ $# -eq 0 ] || shift
case $command in
up) up "$@" ;;
env) folder=$(current) && variables "$folder" ;;
down) down ;;
with) with "$@" ;;
test) test_suites "$@" ;;
*)
    sed -n '2,/^set /{s/^# \{0,1\}//p}' "$0" >&2
    exit 2
    ;;
esac
