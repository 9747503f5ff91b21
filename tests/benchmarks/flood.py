"""`python -m tests.benchmarks.flood PORT RATE SECONDS`: send deliveries with a wrong signature.

Prints the number of 401 responses.

It runs in its own process, so that it does not use the CPU time of the measuring process.
"""

import http.client
import sys
import time

PATH = "/_ops/stage-validation/auto-downgrade"
BODY = b'{"status":"firing","alerts":[],"padding":"' + b"x" * 20_000 + b'"}'
CONNECTIONS = 4


def main(port: int, rate: float, seconds: float) -> int:
    """Send; return the number of deliveries that were refused."""
    links = [http.client.HTTPConnection("127.0.0.1", port, timeout=20) for _ in range(CONNECTIONS)]
    started, sent, refused = time.monotonic(), 0, 0
    while (elapsed := time.monotonic() - started) < seconds:
        time.sleep(max(0.0, sent / rate - elapsed))
        headers = {
            "Content-Type": "application/json",
            "X-Alertmanager-Timestamp": str(int(time.time())),
            "X-Alertmanager-Signature": f"{sent:064x}",
        }
        link = links[sent % CONNECTIONS]
        link.request("POST", PATH, BODY, headers)
        answer = link.getresponse()
        answer.read()
        sent += 1
        refused += answer.status == 401
    for link in links:
        link.close()
    return refused


if __name__ == "__main__":
    print(main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
