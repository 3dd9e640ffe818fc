#!/usr/bin/env python3
"""start.py PROGRAM CONFIG DATA_DIR: from starting `ulex one` on a stored ModelSet to the first list of its model, thrice.

The server is killed each time. 8088 must be free.
"""
import http.client, json, subprocess, sys, time

program, config, data = sys.argv[1:]
for _ in range(3):
    began = time.perf_counter()
    server = subprocess.Popen(
        [program, "one", "-c", config, "--data-dir", data], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = began + 30
        while True:
            assert time.perf_counter() < deadline, "no list within 30 s"
            try:
                connection = http.client.HTTPConnection("127.0.0.1", 8088, timeout=1)
                connection.request("GET", "/api/collaborative-filtering/1?n=10")
                answer = connection.getresponse()
                if answer.status == 200 and json.loads(answer.read()):
                    break
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.001)
        print(json.dumps({"first_list_ms": round(1e3 * (time.perf_counter() - began), 1)}))
    finally:
        server.kill()
        server.wait()
