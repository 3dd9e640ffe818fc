# shellcheck shell=bash
# Sourced by servers.sh: runs the tests that need servers, and says what was run and what was not.
#
# A suite is every test in a module of its name, such as `on_redis`; these tests are ignored in an ordinary run. Which
# suites there are is read from the sources, so that a new one is run without being listed, and one that is there must
# run at least one test.

# Suite and the servers it needs.
suites='
on_nats nats
on_nats_cluster nats-cluster
on_postgres postgres
on_redis redis
on_valkey valkey
on_redis_cluster redis-cluster
on_cluster nats postgres redis
'

# Whether the sources have a module of this name that knows of servers: in a file of its own, or inside another.
in_sources() {
    local root=$1 suite=$2 file
    while read -r file; do
        if [[ $file =~ (^|/)"$suite"(/|\.rs$) ]] || grep -qw "$suite" "$root/$file"; then
            return
        fi
    done < <(git -C "$root" grep -lE --untracked 'ULEX_TEST_[A-Z]' -- '*.rs')
    return 1
}

# Why a suite cannot run; nothing if it can.
hindrance() {
    local folder=$1 server
    shift
    for server in "$@"; do
        if [ -e "$folder/$server/failed" ]; then
            echo "$server did not start"
        elif [ -e "$folder/$server/skipped" ]; then
            cat "$folder/$server/skipped"
        elif [ ! -e "$folder/$server/variables" ]; then
            echo "$server is not there"
        fi
    done | head -n 1
}

# run_suites ROOT FOLDER: all suites whose servers are in FOLDER, in one run. Fails if a test or a suite failed.
run_suites() {
    local root=$1 folder=$2 suite servers why filters=() status=0
    local -A state=()
    while read -r suite servers; do
        [ -n "$suite" ] || continue
        # shellcheck disable=SC2086  # a list of names
        why=$(hindrance "$folder" $servers)
        if ! in_sources "$root" "$suite"; then
            state[$suite]="no such tests in the sources"
        elif [ -n "$why" ]; then
            state[$suite]="skipped: $why"
        else
            filters+=("$suite::")
        fi
    done <<<"$suites"
    : >"$folder/suites.log"
    if [ ${#filters[@]} -gt 0 ]; then
        # The same features and targets as the ordinary tests, so that nothing is compiled again.
        (cd "$root" && cargo test --workspace --locked --no-fail-fast --lib --bins --tests -- \
            --ignored "${filters[@]}") 2>&1 | tee "$folder/suites.log" | shortened || status=$?
    fi
    table "$folder/suites.log" || status=1
    return $status
}

# Without the programs in which no test was wanted.
shortened() {
    grep -vE '^(running 0 tests|test result: ok\. 0 passed.*|     Running .*|)$' || true
}

# table LOG: from the lines of the tests. Uses `state` and `suites` of its caller. Fails if a suite ran nothing.
table() {
    local log=$1 suite ran failed bad=0
    printf '\n%-18s %6s %7s   %s\n' suite run failed ''
    while read -r suite _; do
        [ -n "$suite" ] || continue
        ran=$(grep -cE "^test .*\b$suite::.* \.\.\. (ok|FAILED)" "$log" || true)
        failed=$(grep -cE "^test .*\b$suite::.* \.\.\. FAILED" "$log" || true)
        if [ -z "${state[$suite]:-}" ] && [ "$ran" = 0 ]; then
            state[$suite]="ERROR: its server is there, and not one test was run"
            bad=1
        fi
        printf '%-18s %6s %7s   %s\n' "$suite" "$ran" "$failed" "${state[$suite]:-}"
    done <<<"$suites"
    return $bad
}
