#!/usr/bin/env python3
"""freshness.py [BASE]: likes the first item of users' lists, and times the write and the next list together.

That list must differ and must not hold the item: the last figure counts those that fail.
"""
import http.client, json, sys, time
from urllib.parse import urlparse

base = urlparse(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8088")
connection = http.client.HTTPConnection(base.hostname, base.port, timeout=10)


def call(method, path, body=None):
    connection.request(method, path, body and json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    assert answer.status == 200, (path, answer.status, text)
    return json.loads(text)


times, failed = [], 0
for user in map(str, range(1, 901, 3)):
    path = f"/api/recommend/{user}?n=10"
    before = call("GET", path)
    row = {"FeedbackType": "rating", "UserId": user, "ItemId": before[0], "Value": 5}
    began = time.perf_counter()
    call("POST", "/api/feedback", [row])
    after = call("GET", path)
    times.append(1e3 * (time.perf_counter() - began))
    failed += after == before or before[0] in after
times.sort()
at = lambda share: round(times[int(share * (len(times) - 1))], 2)
print(json.dumps({"n": len(times), "p50_ms": at(0.5), "p95_ms": at(0.95), "max_ms": at(1), "failed": failed}))
