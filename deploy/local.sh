#!/usr/bin/env bash
# A whole cluster on one machine, without Docker: NATS, PostgreSQL, Redis, and ulex master, worker and server as processes
# of their own on loopback, on ports that were free.
#
#   deploy/local.sh up [--nats 3] [ROLE=N...]    start it; by default one NATS, master=2 worker=2 server=2
#   deploy/local.sh status                       what runs, where, and whether it is ready
#   deploy/local.sh scale ROLE=N...              start or stop processes of a role until there are N; ended ones start again
#   deploy/local.sh down [--delete]              stop everything; with --delete forget the data, too
#
# The program is ULEX_BIN, or the newest of target/{dist,release,debug}/ulex. Logs, pid files, configuration and data are in
# the folder that `status` names: ULEX_LOCAL_DIR, or one in the temporary directory that .cluster/ remembers. A file
# given as ULEX_LOCAL_CONFIG is added to the configuration.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
here=$root/deploy/servers
# shellcheck source=servers/process.sh
. "$here/process.sh"
# shellcheck source=servers/tools.sh
. "$here/tools.sh"
remembered=$root/.cluster/folder

fail() {
    echo "local.sh: $1" >&2
    exit "${2:-1}"
}

current() {
    local folder=${ULEX_LOCAL_DIR:-}
    [ -n "$folder" ] || folder=$(cat "$remembered" 2>/dev/null) || true
    [ -n "$folder" ] && [ -d "$folder" ] && (cd "$folder" && pwd)
}

# The program to run.
program() {
    local path=${ULEX_BIN:-}
    if [ -z "$path" ]; then
        # shellcheck disable=SC2012  # names without spaces or newlines
        path=$(cd "${CARGO_TARGET_DIR:-$root/target}" 2>/dev/null &&
            ls -t "$PWD"/dist/ulex "$PWD"/release/ulex "$PWD"/debug/ulex 2>/dev/null | head -n 1) || true
    fi
    [ -n "$path" ] && [ -x "$path" ] || fail "no program: build it (./justw build) or set ULEX_BIN"
    echo "$path"
}

# The value of a variable that the server scripts have noted.
noted() {
    sed -n "s/^$2=//p" "$1"/servers/*/variables | head -n 1
}

# start_server FOLDER SERVER: on the data it had before, if any.
start_server() {
    local folder=$1/servers/$2
    mkdir -p "$folder"
    rm -f "$folder/variables" "$folder/skipped"
    bash "$here/$2.sh" "$folder" || fail "$2 did not start"
    [ ! -e "$folder/skipped" ] || fail "$2 cannot be had: $(cat "$folder/skipped")"
}

# Everything a process of ulex has to know besides its role.
write_configuration() {
    local folder=$1 nats=$2 urls replicas=1
    urls=$(noted "$folder" ULEX_TEST_NATS_URL)
    if [ "$nats" = nats-cluster ]; then
        urls=$(noted "$folder" ULEX_TEST_NATS_CLUSTER_URL)
        replicas=3
    fi
    {
        echo '[database]'
        echo "data_store = \"$(noted "$folder" ULEX_TEST_POSTGRES_URL)\""
        echo "cache_store = \"$(noted "$folder" ULEX_TEST_REDIS_URL)\""
        echo
        echo '[nats]'
        echo "urls = [\"${urls//,/\", \"}\"]"
        echo "replicas = $replicas"
        if [ -n "${ULEX_LOCAL_CONFIG:-}" ]; then
            echo
            cat "$ULEX_LOCAL_CONFIG"
        fi
    } >"$folder/ulex.toml"
}

# role_of ROLE=N, count_of ROLE=N: checked.
role_of() {
    [[ $1 =~ ^(master|worker|server)=([0-9]{1,2})$ ]] || fail "not of the form master=N, worker=N or server=N: $1" 2
    echo "${BASH_REMATCH[1]}"
}
count_of() {
    echo "${1#*=}"
}

# Starts and stops processes of a role until those numbered 1 to N run.
set_count() {
    local folder=$1 role=$2 count=$3 ulex number file
    for ((number = 1; number <= count; number++)); do
        file=$folder/$role$number.pid
        [ -e "$file" ] && runs "$file" && continue
        ulex=$(program)
        free_port >"$folder/$role$number.port"
        # What is meant for this script is not meant for the program.
        (unset ULEX_BIN ULEX_LOCAL_DIR ULEX_LOCAL_CONFIG ULEX_SERVERS_DIR ULEX_SERVERS_INSTALL ULEX_TOOLS_DIR
            launch "$folder" "$role$number" TERM "$ulex" "$role" -c "$folder/ulex.toml" \
                --http "127.0.0.1:$(<"$folder/$role$number.port")")
    done
    for file in "$folder/$role"*.pid; do
        number=${file##*/"$role"}
        number=${number%.pid}
        if [ -e "$file" ] && ((number > count)); then
            stop "$file" &
        fi
    done
    wait
}

is_ready() {
    answers_200 "$1" /api/health/ready
}

# Waits for every process that should be there.
all_ready() {
    local file status=0
    for file in "$1"/*.pid; do
        [ -e "$file" ] || continue
        wait_until 60 "$file" is_ready "$(<"${file%.pid}.port")" || status=1
    done
    return $status
}

status() {
    local folder=$1 file name pid port server
    echo "folder: $folder"
    for server in "$folder"/servers/*/; do
        for file in "$server"*.pid; do
            [ -e "$file" ] || continue
            read -r pid _ <"$file"
            runs "$file" || pid=ended
            printf '%-10s %8s  %s\n' "$(basename "$file" .pid)" "$pid" "$(sed -n 's/^ULEX_TEST_[A-Z_]*_URL=//p' "${server}variables")"
        done
    done
    for file in "$folder"/*.pid; do
        [ -e "$file" ] || continue
        name=$(basename "$file" .pid)
        read -r pid _ <"$file"
        port=$(<"$folder/$name.port")
        if ! runs "$file"; then
            printf '%-10s %8s  see %s\n' "$name" ended "$folder/$name.log"
        elif is_ready "$port"; then
            printf '%-10s %8s  http://127.0.0.1:%s  ready\n' "$name" "$pid" "$port"
        else
            printf '%-10s %8s  http://127.0.0.1:%s  not ready (%s)\n' "$name" "$pid" "$port" \
                "$(http_status "$port" /api/health/ready | grep . || echo 'no answer')"
        fi
    done
}

up() {
    local nats=nats folder server argument pids
    local -A count=([master]=2 [worker]=2 [server]=2)
    while [ $# -gt 0 ]; do
        case $1 in
        --nats)
            case ${2:-} in
            1) nats=nats ;;
            3) nats="nats-cluster" ;;
            *) fail '--nats: 1 or 3' 2 ;;
            esac
            shift
            ;;
        *) argument=$(role_of "$1") && count[$argument]=$(count_of "$1") ;;
        esac
        shift
    done
    program >/dev/null
    folder=$(current) || folder=${ULEX_LOCAL_DIR:-$(mktemp -d "${TMPDIR:-/tmp}/ulex-cluster.XXXXXX")}
    mkdir -p "$folder" "$(dirname "$remembered")"
    folder=$(cd "$folder" && pwd)
    for pids in "$folder"/servers/*/*.pid "$folder"/*.pid; do
        [ ! -e "$pids" ] || ! runs "$pids" || fail "it is up already: $0 status"
    done
    find "$folder" -name '*.pid' -delete
    echo "$folder" >"$remembered"
    chmod 711 "$folder"
    install_missing "$nats" postgres redis
    for server in "$nats" postgres redis; do start_server "$folder" "$server" & done
    for server in 1 2 3; do wait -n || fail 'stop what did start: local.sh down'; done
    write_configuration "$folder" "$nats"
    for argument in master worker server; do set_count "$folder" "$argument" "${count[$argument]}"; done
    all_ready "$folder" || { status "$folder"; exit 1; }
    status "$folder"
}

scale() {
    local folder=$1 argument role
    shift
    [ $# -gt 0 ] || fail 'scale what? master=N, worker=N, server=N' 2
    [ -e "$folder/ulex.toml" ] || fail 'it is not up'
    for argument in "$@"; do role_of "$argument" >/dev/null; done
    for argument in "$@"; do
        role=$(role_of "$argument")
        set_count "$folder" "$role" "$(count_of "$argument")"
    done
    all_ready "$folder" || { status "$folder"; exit 1; }
    status "$folder"
}

down() {
    local folder=$1
    # Those that use the servers first.
    for file in "$folder"/*.pid; do stop "$file" & done
    wait
    stop_all "$folder"
    rm -f "$folder/ulex.toml"
    if [ "${2:-}" = --delete ]; then
        rm -rf "$folder"
        rm -f "$remembered"
    fi
}

command=${1:-}
[ $# -eq 0 ] || shift
case $command in
up) up "$@" ;;
status | scale | down)
    folder=$(current) || fail 'there is none: deploy/local.sh up'
    "$command" "$folder" "$@"
    ;;
*)
    sed -n '2,/^set /{s/^# \{0,1\}//p}' "$0" >&2
    exit 2
    ;;
esac
