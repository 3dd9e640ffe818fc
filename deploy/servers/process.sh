# shellcheck shell=bash
# Sourced by the other scripts here: ports, processes that outlive the script, questions to a server.
#
# A process is remembered in FOLDER/NAME.pid as "PID STARTED SIGNAL": with the moment it started, so that a number that
# the system has given to somebody else in the meantime is never signalled.

# Ports given out lately, by any script of this account, so that two of them never take the same one.
given_ports=${TMPDIR:-/tmp}/ulex-ports-$(id -u)

# A free port below 32768: higher ones may at any time become the near end of somebody's connection.
free_port() (
    mkdir -p "$given_ports"
    exec 9>"$given_ports/lock"
    flock -w 30 9
    find "$given_ports" -type f -name '[0-9]*' -mmin +2 -delete
    for _ in {1..500}; do
        port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
        [ ! -e "$given_ports/$port" ] || continue
        ! grep -qsi "$(printf ':%04X ' "$port")" /proc/net/tcp /proc/net/tcp6 || continue
        : >"$given_ports/$port"
        echo "$port"
        return
    done
    echo "no free port between 20000 and 32000" >&2
    return 1
)

# When a process started, in ticks since the machine did; nothing if it is gone or waits to be buried.
started_at() {
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
    # The name of the command, in brackets, may hold spaces.
    awk '$1 != "Z" { print $20 }' <<<"${stat##*) }"
}

# launch FOLDER NAME SIGNAL COMMAND...: in a session of its own; its output goes to FOLDER/NAME.log, SIGNAL ends it.
launch() {
    local folder=$1 name=$2 signal=$3 pid
    shift 3
    setsid "$@" </dev/null >>"$folder/$name.log" 2>&1 &
    pid=$!
    disown "$pid"
    echo "$pid $(started_at "$pid") $signal" >"$folder/$name.pid"
}

# Whether the process of a pid file is there.
runs() {
    local pid started
    read -r pid started _ <"$1" && [ -n "$started" ] && [ "$(started_at "$pid")" = "$started" ]
}

# Asks the process of a pid file to end, waits for it, kills it after fifteen seconds and says so.
stop() {
    local file=$1 pid started signal
    if [ -e "$file" ] && runs "$file"; then
        read -r pid started signal <"$file"
        kill -s "${signal:-TERM}" "$pid" 2>/dev/null || true
        for _ in {1..300}; do
            runs "$file" || break
            sleep 0.05
        done
        if runs "$file"; then
            echo "did not end in time and was killed: $(basename "$file" .pid) ($pid)" >&2
            kill -s KILL "$pid" 2>/dev/null || true
        fi
    fi
    rm -f "$file"
}

# stop_all FOLDER: everything with a pid file in it or below, at the same time.
stop_all() {
    local file
    while read -r file; do
        stop "$file" &
    done < <(find "$1" -name '*.pid')
    wait
}

# wait_until SECONDS PIDFILE COMMAND...: until the command says yes; fails with the end of the log if the process ends or
# the time is over.
wait_until() {
    local seconds=$1 file=$2 until
    shift 2
    until=$((SECONDS + seconds))
    while ! "$@"; do
        if ! runs "$file" || ((SECONDS >= until)); then
            echo "not ready: $(basename "$file" .pid); the end of ${file%.pid}.log:" >&2
            tail -n 10 "${file%.pid}.log" >&2
            return 1
        fi
        sleep 0.05
    done
}

# http_status PORT PATH: of a GET; nothing if nobody answers.
http_status() {
    # shellcheck disable=SC2016  # expanded by the inner shell
    timeout 2 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$0" && printf "GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n" "$1" >&3 &&
        read -r _ status _ <&3 && echo "$status"' "$1" "$2" 2>/dev/null || true
}

answers_200() {
    [ "$(http_status "$1" "$2")" = 200 ]
}

# redis_ask PORT COMMAND: the whole answer of a Redis or Valkey, whose client need not be installed.
redis_ask() {
    # shellcheck disable=SC2016  # expanded by the inner shell
    timeout 2 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$0" && printf "%s\r\nQUIT\r\n" "$1" >&3 && cat <&3' "$1" "$2" \
        2>/dev/null || true
}

redis_answers() {
    [[ $(redis_ask "$1" PING) == +PONG* ]]
}

# note FOLDER NAME VALUE: a variable for the tests.
note() {
    echo "$2=$3" >>"$1/variables"
}

# unavailable FOLDER REASON: the server cannot be had on this machine; leaves the script.
unavailable() {
    echo "$2" >"$1/skipped"
    exit 0
}
