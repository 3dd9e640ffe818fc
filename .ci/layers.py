#!/usr/bin/env python3
"""Checks which crate may use what, from `cargo metadata`.

A member may directly use only the members named for it in OURS, and none of the packages named for it in NEVER may be
reached from it, directly or through others. Development dependencies are free. Every violation is printed with a path
that leads to it; exit status 1 if there is one.
"""
import json
import subprocess
import sys

SHARED = {"ulex-domain", "ulex-settings", "ulex-algorithms", "ulex-storage", "ulex-recommenders"}
# Beneath the roles and above the bus.
FOUNDATION = SHARED | {"ulex-nats", "ulex-actors"}
ROLES = {"ulex-server", "ulex-master", "ulex-worker"}
DRIVERS = {"rusqlite", "mysql_async", "tokio-postgres", "mongodb", "clickhouse", "fred"}

OURS = {
    "ulex-domain": set(),
    "ulex-algorithms": set(),
    "ulex-settings": {"ulex-domain"},
    "ulex-storage": {"ulex-domain"},
    "ulex-nats": {"ulex-domain"},
    "ulex-recommenders": {"ulex-domain", "ulex-settings", "ulex-algorithms", "ulex-storage"},
    "ulex-actors": {"ulex-domain", "ulex-nats", "ulex-settings"},
    "ulex-server": FOUNDATION,
    "ulex-master": FOUNDATION,
    "ulex-worker": FOUNDATION - {"ulex-algorithms"},
    "ulex-launcher": FOUNDATION | ROLES,
    "ulex-integration-tests": FOUNDATION | ROLES | {"ulex-launcher"},
    "ulex-sim": FOUNDATION | ROLES | {"ulex-launcher"},
}

NEVER = {
    "ulex-domain": {"tokio", "rayon", "actix", "actix-web", "async-nats"} | DRIVERS,
    "ulex-algorithms": {"tokio", "actix", "actix-web", "async-nats"} | DRIVERS,
    "ulex-settings": {"actix", "actix-web", "async-nats"} | DRIVERS,
    "ulex-storage": {"actix", "actix-web", "async-nats"},
    "ulex-nats": {"actix", "actix-web"} | DRIVERS,
    "ulex-recommenders": {"actix", "actix-web", "async-nats"},
    "ulex-actors": {"actix-web"} | DRIVERS,
    "ulex-worker": {"actix-web"},
}

# These must not be named in the crate's own Cargo.toml, though a crate it uses may bring them.
NOT_DIRECTLY = {name: DRIVERS for name in ("ulex-recommenders", "ulex-server", "ulex-master", "ulex-worker", "ulex-launcher")}


def load():
    command = ["cargo", "metadata", "--format-version", "1", "--locked"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def normal_edges(node):
    return [edge["pkg"] for edge in node["deps"] if any(kind["kind"] is None for kind in edge["dep_kinds"])]


def path_to(start, forbidden, edges, names):
    """The shortest chain from `start` to a package named in `forbidden`, for each name that can be reached."""
    found, seen, queue = {}, {start}, [[start]]
    while queue:
        path = queue.pop(0)
        for package in edges[path[-1]]:
            if package in seen:
                continue
            seen.add(package)
            queue.append([*path, package])
            if names[package] in forbidden:
                found.setdefault(names[package], " -> ".join(names[step] for step in queue[-1]))
    return found


def violations(metadata):
    names = {package["id"]: package["name"] for package in metadata["packages"]}
    edges = {node["id"]: normal_edges(node) for node in metadata["resolve"]["nodes"]}
    members = {names[member]: member for member in metadata["workspace_members"]}
    for name, member in sorted(members.items()):
        if name not in OURS:
            yield f"{name} has no rule in .ci/layers.py; give it one"
            continue
        direct = {names[package] for package in edges[member]}
        for other in sorted((direct & members.keys()) - OURS[name]):
            yield f"{name} must not use {other}"
        for other in sorted(direct & NOT_DIRECTLY.get(name, set())):
            yield f"{name} must not name {other} in its Cargo.toml"
        for path in sorted(path_to(member, NEVER.get(name, set()), edges, names).values()):
            yield f"{name} must not depend on {path.rsplit(' ', 1)[-1]}: {path}"


def main():
    found = list(violations(load()))
    for line in found:
        print(line, file=sys.stderr)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
