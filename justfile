# Everything a person or a pipeline does here. `./justw` alone lists it.

set shell := ["bash", "-euo", "pipefail", "-c"]

# Where the public data sets are, for the tests and benchmarks that need them.
export ULEX_DATA_DIR := env("ULEX_DATA_DIR", justfile_directory() / "../shared/data")

[private]
default:
    @just --justfile {{ justfile() }} --list --unsorted

# Load a synthetic shop, train on it, serve it and show what it recommends.
demo *arguments:
    cargo run --release --locked --package ulex-launcher --bin ulex -- demo {{ arguments }}

# An optimised program in target/release.
build:
    cargo build --release --locked --package ulex-launcher --bin ulex

# Every test, those that need servers on servers started for them; with arguments, the ordinary tests of those names.
test *filter:
    {{ if filter == "" { "deploy/servers.sh test" } else { "" } }} \
        '{{ just_executable() }}' --justfile '{{ justfile() }}' test-plain {{ filter }}

# Every test that needs nothing but this machine; arguments filter them by name.
test-plain *filter: tests
    cargo test --workspace --locked -- {{ filter }}

# Only the tests that need servers (NATS, PostgreSQL, Redis), on servers started for them.
test-servers: tests
    deploy/servers.sh test

# Servers to try things with; `eval "$(./justw --quiet env)"` gives a shell their addresses.
up *servers:
    deploy/servers.sh up {{ servers }}

# The addresses of those servers.
env:
    @deploy/servers.sh env

# Stop them and forget what they kept.
down:
    deploy/servers.sh down

# The tests that read the public data sets or recordings (ULEX_DATA_DIR), or take long, too.
test-data *filter: tests
    test -d "$ULEX_DATA_DIR" || { echo "ULEX_DATA_DIR: $ULEX_DATA_DIR is no directory" >&2; exit 1; }
    cargo test --workspace --locked -- --include-ignored {{ filter }}

# Seeds of the simulator for so many seconds; a run that breaks an invariant is printed with the steps that do it.
sim seconds *first-seed:
    cargo run --quiet --locked -p ulex-sim -- {{ seconds }} {{ first-seed }}

# The tests and the program they start, together: with the same features nothing is compiled twice.
[private]
tests:
    cargo build --workspace --locked --bins --tests

# Fast loop: types only.
check:
    cargo check --workspace --all-targets --locked

# Everything the pipeline runs, in the order that fails fastest.
ci: format-check layers lengths lint test doc

format:
    cargo fmt --all

format-check:
    cargo fmt --all --check

lint:
    cargo clippy --workspace --all-targets --locked -- --deny warnings
    # Each backend alone, as someone may want it.
    for backend in sqlite postgres redis; do cargo clippy --quiet --package ulex-storage --no-default-features --features $backend --locked -- --deny warnings || exit; done

doc:
    RUSTDOCFLAGS="--deny warnings" cargo doc --workspace --no-deps --document-private-items --locked

# Which crate may use what; a crate that breaks a rule is named.
layers:
    python3 .ci/layers.py

# No file has more than 500 production lines.
lengths:
    #!/usr/bin/env bash
    set -euo pipefail
    long=$(git ls-files '*.rs' | grep -vE '(^|/)tests(/|\.rs$)' | while read -r file; do
        if [ -f "$file" ]; then
            awk -v file="$file" '/^#\[cfg\(test\)\]/ { exit } { n++ } END { if (n > 500) print n " production lines, 500 are allowed: " file }' "$file"
        fi
    done)
    if [ -n "$long" ]; then
        echo "$long" >&2
        exit 1
    fi

# Licences and advisories of everything we depend on (needs cargo-deny).
deny:
    cargo deny --locked check

# The program for others, in target/dist: optimised further, stripped, and it knows its commit.
dist:
    ULEX_VERSION="$(cargo pkgid --package ulex-launcher | sed 's/.*[#@]//') ($(git rev-parse --short HEAD))" \
        cargo build --profile dist --locked --package ulex-launcher --bin ulex
