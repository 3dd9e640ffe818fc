# shellcheck shell=bash
# Sourced by servers.sh: runs the tests that need servers, and says what was run and what was not.
#
# A suite is every test in a module of its name, such as `on_redis`; these tests are ignored in an ordinary run. Which
# suites there are is read from the sources: if any of them asks for the variable of a suite, at least one test of it must
# run, so that none is left out because it is named differently.

# Suite, the variable its tests ask for, and the servers it needs.
suites='
on_nats ULEX_TEST_NATS_URL nats
on_nats_cluster ULEX_TEST_NATS_CLUSTER_URL nats-cluster
on_postgres ULEX_TEST_POSTGRES_URL postgres
on_redis ULEX_TEST_REDIS_URL redis
on_valkey ULEX_TEST_VALKEY_URL valkey
on_redis_cluster ULEX_TEST_REDIS_CLUSTER_URL redis-cluster
on_cluster ULEX_TEST_NATS_SERVER nats postgres redis
'

# Whether anything in the sources asks for a variable.
in_sources() {
    git -C "$1" grep -qw --untracked "$2" -- '*.rs'
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
    local root=$1 folder=$2 suite variable servers why filters=() status=0
    local -A state=()
    while read -r suite variable servers; do
        [ -n "$suite" ] || continue
        # shellcheck disable=SC2086  # a list of names
        why=$(hindrance "$folder" $servers)
        if ! in_sources "$root" "$variable"; then
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
    grep --line-buffered -vE '^(running 0 tests|test result: ok\. 0 passed.*|     Running .*|)$' || true
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
