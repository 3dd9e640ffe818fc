#!/usr/bin/env python3
"""Measures a cluster that `deploy/local.sh up` has started. Give it the MovieLens data first (docs/benchmarks.md).

cluster.py freshness [RATE] [SAMPLES]   while RATE (1000) events a second come over NATS: from a like, over REST and over
                                        NATS, to another list at a server that did not take it
cluster.py ingest [ROWS] [ROUNDS]       ROWS (200000) rows of feedback three times (3) over REST and over NATS until they are in the
                                        table, beside psql's COPY of as many into the same table; workers are held still,
                                        or they would make lists of all the users whose rows these are
cluster.py workers [PERCENT]            lists a second that workers make: another ModelSet makes all lists stale, and they
                                        are made again, in turn by the first worker alone and by all that run, each pinned
                                        to a core and held to PERCENT (100) of it by a control group: everything else that
                                        runs needs processors, too. Wants two ModelSets of the same settings; n_jobs = 1
"""
import http.client, json, multiprocessing, os, random, signal, socket, subprocess, sys, time
from urllib.parse import urlparse

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def status():
    """Name to (pid, address) of everything that runs."""
    text = subprocess.run([f"{ROOT}/deploy/local.sh", "status"], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in text.splitlines() if not line.startswith("folder")]
    return {row[0]: (int(row[1]), row[2]) for row in rows if row[1].isdigit()}


class Http:
    def __init__(self, base):
        address = urlparse(base)
        self.connection = http.client.HTTPConnection(address.hostname, address.port, timeout=10)

    def call(self, method, path, body=None):
        self.connection.request(method, path, body and json.dumps(body), {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        text = answer.read()
        assert answer.status == 200, (path, answer.status, text)
        return text

    def list(self, user):
        return json.loads(self.call("GET", f"/api/recommend/{user}?n=10"))

    def metric(self, name):
        lines = self.call("GET", "/metrics").decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


class Nats:
    """As much of the protocol as publishing takes."""

    def __init__(self, url):
        address = urlparse(url)
        self.socket = socket.create_connection((address.hostname, address.port))
        self.socket.recv(65536)
        self.socket.sendall(b'CONNECT {"verbose":false}\r\n')

    def publish(self, rows):
        message = b""
        for row in rows:
            body = json.dumps(row).encode()
            message += b"PUB ulex.v1.default.event.feedback.bench %d\r\n%s\r\n" % (len(body), body)
        self.socket.sendall(message)
        self.socket.setblocking(False)
        try:
            if b"PING" in self.socket.recv(65536):
                self.socket.setblocking(True)
                self.socket.sendall(b"PONG\r\n")
        except BlockingIOError:
            pass
        self.socket.setblocking(True)


def rating(user, item, kind="rating", value=5):
    return {"FeedbackType": kind, "UserId": str(user), "ItemId": str(item), "Value": value}


def background(url, rate):
    """Feedback of a kind that says nothing, by users in no order, in bursts of ten milliseconds."""
    nats, due, count = Nats(url), time.perf_counter(), 0
    while True:
        burst = max(1, rate // 100)
        nats.publish(rating(random.randrange(1, 944), random.randrange(1, 1683), "view", 1) for _ in range(burst))
        count += burst
        due += burst / rate
        time.sleep(max(0, due - time.perf_counter()))


def shown(what, seconds, failed):
    seconds.sort()
    at = lambda share: round(1e3 * seconds[int(share * (len(seconds) - 1))], 1)
    print(json.dumps({"what": what, "n": len(seconds), "p50_ms": at(0.5), "p95_ms": at(0.95), "p99_ms": at(0.99),
                      "max_ms": at(1), "not_changed_within_10_s": failed}))


def freshness(rate=1000, samples=300):
    there = status()
    servers = [Http(address) for name, (_, address) in sorted(there.items()) if name.startswith("server")]
    writer, reader, nats = servers[0], servers[-1], Nats(there["nats"][1])
    applied = lambda: sum(server.metric("ulex_events_applied_total") for server in servers)
    noise = multiprocessing.Process(target=background, args=(there["nats"][1], rate), daemon=True)
    noise.start()
    time.sleep(2)
    before, began = applied(), time.perf_counter()
    users = list(range(1, 944))
    random.Random(1).shuffle(users)
    for what, write in [
        ("like over REST", lambda row: writer.call("POST", "/api/feedback", [row])),
        ("like over NATS", lambda row: nats.publish([row])),
    ]:
        seconds, failed = [], 0
        for user in [users.pop() for _ in range(samples)]:
            first = reader.list(user)[0]
            asked = time.perf_counter()
            write(rating(user, first))
            while first in reader.list(user):
                if time.perf_counter() - asked > 10:
                    failed += 1
                    break
                time.sleep(0.001)
            seconds.append(time.perf_counter() - asked)
            time.sleep(0.02)
        shown(what, seconds, failed)
    took = time.perf_counter() - began
    print(json.dumps({"events_applied_per_second": round((applied() - before) / took), "over_seconds": round(took)}))
    noise.terminate()


class Drain:
    """Reads the answers of the stream and counts them."""

    def __init__(self, url):
        self.nats = Nats(url)
        self.nats.socket.sendall(b"SUB _INBOX.bench 1\r\n")
        self.answers = 0
        self.rest = b""

    def read(self):
        text = self.rest + self.nats.socket.recv(1 << 20)
        head, _, self.rest = text.rpartition(b"\r\n")
        assert b'"error"' not in head, head
        self.answers += head.count(b"MSG _INBOX.bench")
        if b"PING" in head:
            self.nats.socket.sendall(b"PONG\r\n")


def over_nats(url, bodies):
    """Publishes to the stream, at most 256 messages ahead of its answers."""
    drain, sent = Drain(url), 0
    messages = [b"PUB ulex.v1.default.event.feedback.bench _INBOX.bench %d\r\n%s\r\n" % (len(b), b) for b in bodies]
    while drain.answers < len(messages):
        more = messages[sent:drain.answers + 256]
        if more:
            drain.nats.socket.sendall(b"".join(more))
            sent += len(more)
        drain.read()


CALLERS = 8


def over_rest(bases, bodies):
    """Connections with one request at a time each."""
    def caller(place):
        http = Http(bases[place % len(bases)])
        for body in bodies[place::CALLERS]:
            http.connection.request("POST", "/api/feedback", body, {"Content-Type": "application/json"})
            answer = http.connection.getresponse()
            assert answer.status == 200, answer.read()
            answer.read()

    callers = [multiprocessing.Process(target=caller, args=(place,)) for place in range(CALLERS)]
    for process in callers:
        process.start()
    for process in callers:
        process.join()
        assert process.exitcode == 0


class Psql:
    """One that stays connected: to start one for every question takes a good part of a core."""

    def __init__(self, url):
        self.process = subprocess.Popen(["psql", "-qAtX", "--set", "ON_ERROR_STOP=1", url], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def has(self, query):
        """Whether it finds a row."""
        self.process.stdin.write(f"select exists ({query});\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        assert answer in ("t", "f"), answer
        return answer == "t"


def ingest(rows=200_000, rounds=3):
    there = status()
    bases = [address for name, (_, address) in sorted(there.items()) if name.startswith("server")]
    sql = lambda *more, **options: subprocess.run(["psql", "-qAtX", there["postgres"][1], *more], check=True,
                                                  capture_output=True, text=True, **options).stdout
    rates, chance, asking = {}, random.Random(7), Psql(there["postgres"][1])
    tag = f"{time.time():.0f}"

    def bodies(kind, size):
        """What is sent, and who is in the last row of it."""
        at = [divmod(pair, 1682) for pair in chance.sample(range(943 * 1682), rows)]
        made = [{"FeedbackType": kind, "UserId": str(user + 1), "ItemId": str(item + 1), "Value": 1,
                 "Timestamp": "2024-01-01T00:00:00Z"} for user, item in at]
        last = (made[-1]["UserId"], made[-1]["ItemId"])
        if size == 0:
            return "".join(f"1\t1704067200000000000\t1704067200000000000\t{row['FeedbackType']}\t{row['UserId']}\t"
                           f"{row['ItemId']}\t\\N\t\\N\n" for row in made), last
        if size == 1:
            return [json.dumps(row).encode() for row in made], last
        return [json.dumps(made[at:at + size]).encode() for at in range(0, rows, size)], last

    def measured(what, kind, size, run):
        body, (user, item) = bodies(kind, size)
        of_kind = f"from feedback where feedback_type = '{kind}'"
        # What the rows of the last turn leave to do for the server is no part of this one.
        sql("-c", "vacuum analyze feedback", "-c", "checkpoint")
        time.sleep(1)
        began = time.perf_counter()
        run(body)
        # Rows are committed in the order of the log, so the last one is enough to look at; counting them again and again
        # would take a good part of a core.
        while not asking.has(f"select 1 {of_kind} and user_id = '{user}' and item_id = '{item}'"):
            assert time.perf_counter() - began < 120, f"{what}: the last row is not there"
            time.sleep(0.01)
        rates.setdefault(what, []).append(rows / (time.perf_counter() - began))
        assert int(sql("-c", f"select count(*) {of_kind}")) == rows
        print(json.dumps({"what": what, "rows_per_second": round(rates[what][-1])}), flush=True)

    def all_ways(kind):
        measured("COPY", kind + "c", 0, lambda text: sql("-c", "copy feedback from stdin", input=text))
        measured("REST, 1000 rows a request", kind + "r", 1000, lambda text: over_rest(bases, text))
        measured("NATS, 1000 rows a message", kind + "n", 1000, lambda text: over_nats(there["nats"][1], text))
        measured("NATS, 1 row a message", kind + "s", 1, lambda text: over_nats(there["nats"][1], text))

    held = [pid for name, (pid, _) in there.items() if name.startswith("worker")]
    try:
        for pid in held:
            os.kill(pid, signal.SIGSTOP)
        for round_ in range(rounds):
            all_ways(f"bench{tag}{round_}")
    finally:
        for pid in held:
            os.kill(pid, signal.SIGCONT)
    median = lambda values: sorted(values)[len(values) // 2]
    print(json.dumps({what: round(median(values) / median(rates["COPY"]), 2) for what, values in rates.items()}))


def held_to(percent, pid, name):
    """Lets a process have PERCENT of one core; needs root."""
    first, second = f"/sys/fs/cgroup/cpu/ulex-{name}", f"/sys/fs/cgroup/ulex-{name}"
    quota = 100 * percent
    if os.path.isdir(os.path.dirname(first)):
        os.makedirs(first, exist_ok=True)
        files = {"cpu.cfs_period_us": 10_000, "cpu.cfs_quota_us": quota, "cgroup.procs": pid}
        files = {f"{first}/{file}": text for file, text in files.items()}
    else:
        os.makedirs(second, exist_ok=True)
        files = {f"{second}/cpu.max": f"{quota} 10000", f"{second}/cgroup.procs": pid}
    for file, text in files.items():
        with open(file, "w") as control:
            control.write(str(text))


def workers(percent=100):
    there = status()
    own = [(pid, address) for name, (pid, address) in sorted(there.items()) if name.startswith("worker")]
    cores = sorted(os.sched_getaffinity(0))
    assert 1 < len(own) <= len(cores), "start as many workers as there are cores, with n_jobs = 1"
    ulex = [os.environ.get("ULEX_BIN", "ulex"), "models", "-c", f"{os.environ['ULEX_LOCAL_DIR']}/ulex.toml"]
    listed = subprocess.run([*ulex, "list", "--json"], capture_output=True, text=True, check=True).stdout
    sets = [kept["id"] for kept in json.loads(listed)][:2]
    assert len(sets) == 2, "wait for a second ModelSet"
    for place, (pid, _) in enumerate(own):
        subprocess.run(["taskset", "-acp", str(cores[place]), str(pid)], check=True, capture_output=True)
        if percent < 100:
            held_to(percent, pid, f"worker{place}")
    made = lambda: sum(Http(address).metric('ulex_refresh_jobs_total{outcome="computed"}') for _, address in running)
    rates = {}
    for round_, count in enumerate([1, len(own)] * 3):
        for place, (pid, _) in enumerate(own):
            os.kill(pid, signal.SIGCONT if place < count else signal.SIGSTOP)
        running = own[:count]
        time.sleep(3)
        before = made()
        # Another ModelSet makes every list stale, and trains nobody.
        subprocess.run([*ulex, "rollback", sets[1 - round_ % 2]], check=True, capture_output=True)
        times = []
        while len(times) < 20 or times[-1][1] != times[-20][1] or times[-1][1] == before:
            time.sleep(0.2)
            times.append((time.perf_counter(), made()))
        # Without the beginning and the end, where jobs are few.
        total = times[-1][1] - before
        middle = [(at, done) for at, done in times if 0.1 * total <= done - before <= 0.9 * total]
        rates.setdefault(count, []).append((middle[-1][1] - middle[0][1]) / (middle[-1][0] - middle[0][0]))
        print(json.dumps({"workers": count, "lists": total, "lists_per_second": round(rates[count][-1])}), flush=True)
    for pid, _ in own:
        os.kill(pid, signal.SIGCONT)
    median = lambda values: sorted(values)[len(values) // 2]
    print(json.dumps({"ratio": round(median(rates[len(own)]) / median(rates[1]), 2)}))


if __name__ == "__main__":
    {"freshness": freshness, "ingest": ingest, "workers": workers}[sys.argv[1]](*map(int, sys.argv[2:]))
