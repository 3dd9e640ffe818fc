#!/usr/bin/env python3
"""Runs every block of docs/publishing.md against a real nats-server with an ingester, and looks at what came of it.

Needs a nats-server (ULEX_TEST_NATS_SERVER, or in PATH), the `nats` command line (ULEX_TEST_NATS_CLI, or in PATH), Node with
npm, and Rust. Python and Node packages are installed into a temporary folder. What is not there is an error, not a skip;
`--only sh,python` runs fewer.
"""
import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"python": ["nats-py==2.16.0"], "js": ["@nats-io/transport-node@3", "@nats-io/jetstream@3"]}


def blocks():
    text = (ROOT / "docs/publishing.md").read_text()
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def program(variable, name):
    found = os.environ.get(variable) or shutil.which(name)
    if not found:
        sys.exit(f"{name} is missing: put it into PATH or name it in {variable}")
    return Path(found).resolve()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(what, ready, seconds=30):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if ready():
            return
        time.sleep(0.05)
    sys.exit(f"not within {seconds} s: {what}")


def answers(port):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


class Place:
    """A folder with running servers."""

    def __init__(self, folder, arguments):
        self.folder, self.only, self.processes = folder, arguments.only, []
        self.built = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug"
        self.port = free_port()
        # Ulex says of each variable with its prefix that it does not know.
        outside = {name: value for name, value in os.environ.items() if not name.startswith("ULEX_")}
        self.environment = dict(outside, NATS_URL=f"nats://127.0.0.1:{self.port}")
        tools = folder / "bin"
        tools.mkdir()
        (tools / "ulex").symlink_to(self.built / "ulex")
        if "sh" in self.only:
            (tools / "nats").symlink_to(program("ULEX_TEST_NATS_CLI", "nats"))
        self.environment["PATH"] = f"{tools}:{self.environment['PATH']}"

    def build(self):
        launcher = ["--bin", "ulex", "--example", "ingester", "-p", "ulex-launcher"]
        for what in (launcher, ["--example", "publish", "-p", "ulex-nats"]):
            subprocess.run(["cargo", "build", "--locked", *what], cwd=ROOT, check=True)

    def start(self, name, command):
        log = open(self.folder / f"{name}.log", "w")
        process = subprocess.Popen([str(part) for part in command], cwd=self.folder, env=self.environment, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def stop(self):
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()

    def log(self, name):
        return (self.folder / f"{name}.log").read_text()

    def run(self, language, text):
        if language == "sh":
            command = ["bash", "-euo", "pipefail", "-c", text]
        elif language == "rust":
            source = (ROOT / "nats/examples/publish.rs").read_text()
            assert text.strip() in source, "docs/publishing.md and nats/examples/publish.rs have grown apart"
            command = [str(self.built / "examples/publish")]
        elif language == "python":
            folder = self.folder / "venv"
            venv.create(folder, with_pip=True)
            subprocess.run([folder / "bin/pip", "install", "--quiet", *PACKAGES["python"]], check=True)
            command = [str(folder / "bin/python"), "-c", text]
        elif language == "js":
            subprocess.run(["npm", "install", "--silent", "--no-audit", *PACKAGES["js"]], cwd=self.folder, check=True)
            (self.folder / "publish.mjs").write_text(text)
            command = ["node", "publish.mjs"]
        else:
            sys.exit(f"a block in {language}: nobody knows how to run it")
        print(f"--- {language}: {text.strip().splitlines()[0]}", flush=True)
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=120)
        print(done.stdout + done.stderr, flush=True)
        assert done.returncode == 0, f"status {done.returncode}"
        return done.stdout


def look(place):
    """What `ulex one` answers from the store."""
    port = free_port()
    config = place.folder / "ulex.toml"
    config.write_text(f'[database]\ndata_store = "sqlite://{place.folder}/data.sqlite"\n[master]\nhttp_port = {port}\n')
    place.start("one", [place.built / "ulex", "one", "-c", config, "--data-dir", place.folder / "one"])
    wait_until("ulex one listens", lambda: answers(port))

    def get(path):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
            return json.load(response)

    rows = {row["UserId"]: row["Value"] for row in get("/api/feedback/read?n=100")["Feedback"]}
    publishers = {"sh": "cli", "rust": "rust", "python": "python", "js": "node"}
    assert rows == {publishers[language]: 1 for language in place.only}, f"each counted once: {rows}"
    users = {user["UserId"]: user for user in get("/api/users?n=100")["Users"]}
    if "sh" in place.only:
        assert "leaver" not in users and users["cli"]["Labels"] == {"country": "nl"}, users
        assert users["dead"]["Labels"] == {"age": "unknown"}, users
    if "js" in place.only:
        assert users["node"]["Comment"] == "from Node", users
    if "rust" in place.only:
        item = get("/api/item/dune")
        assert item["Comment"] == "a classic" and item["Categories"] == ["novels"], item
    if "python" in place.only:
        assert get("/api/item/emma")["Categories"] == ["novels"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="sh,rust,python,js", type=lambda text: text.split(","))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ulex-publishing-") as folder:
        place = Place(Path(folder), arguments)
        try:
            place.build()
            server = program("ULEX_TEST_NATS_SERVER", "nats-server")
            place.start("nats", [server, "-js", "-sd", place.folder / "js", "-a", "127.0.0.1", "-p", place.port])
            wait_until("nats-server listens", lambda: answers(place.port))
            store = f"sqlite://{place.folder}/data.sqlite"
            place.start("ingester", [place.built / "examples/ingester", place.environment["NATS_URL"], store])
            wait_until("the ingester is ready", lambda: "ready" in place.log("ingester"))
            said = [place.run(language, text) for language, text in blocks() if language in place.only]
            if "sh" in place.only:
                replays = re.findall(r"(\d+) events applied, (\d+) had been applied before", said[-1])
                assert len(replays) == 2 and replays[0][0] != "0" and replays[1][0] == "0", replays
                copy = subprocess.run(
                    [place.built / "ulex", "data", "checksum", "--store", store], capture_output=True, text=True, check=True
                )
                assert said[-1].endswith(copy.stdout), f"the copy differs:\n{copy.stdout}"
            place.stop()
            look(place)
        except BaseException:
            for log in Path(folder).glob("*.log"):
                print(f"--- {log.name}\n{log.read_text()[-3000:]}", file=sys.stderr)
            raise
        finally:
            place.stop()
    print("docs/publishing.md is true")


if __name__ == "__main__":
    main()
