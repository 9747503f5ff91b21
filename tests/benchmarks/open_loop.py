"""An HTTP load of fixed rate: requests are sent when they are due, even if responses are late.

A request that is due while its connection still waits is timed from when it was due, so that a
stall counts for each request that it delays, not once. A client that wakes late (the machine
is busy) is timed from when it sends: that is not the server's doing.
"""

import http.client
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic, sleep

from tests.servers import Service

Caller = Callable[[bytes], str]
"""Says the next path, given the last answer's body (b"" at first)."""


@dataclass(frozen=True)
class Answers:
    """Milliseconds of each request, in ascending order, and how often each status came."""

    milliseconds: list[float]
    statuses: Counter[int]


def p99(ascending: Sequence[float]) -> float:
    """What 99 % of `ascending` stay below."""
    return ascending[int(len(ascending) * 0.99)]


def send(
    service: Service, key: str, callers: Sequence[Caller], rate: float, seconds: float
) -> Answers:
    """Send `rate` requests a second in total for `seconds`; each caller has its own connection."""
    begin = monotonic()

    def one(number: int) -> list[tuple[int, float]]:
        first = begin + number / rate  # evenly between the others
        return _send(
            service.port, key, callers[number], first, len(callers) / rate, begin + seconds
        )

    with ThreadPoolExecutor(len(callers)) as pool:
        answers = [answer for each in pool.map(one, range(len(callers))) for answer in each]
    return Answers(sorted(took for _, took in answers), Counter(status for status, _ in answers))


def _send(
    port: int, key: str, caller: Caller, due: float, every: float, end: float
) -> list[tuple[int, float]]:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    answers, body, answered = [], b"", 0.0
    while due < end:
        sleep(max(0.0, due - monotonic()))
        path = caller(body)
        start = due if answered > due else monotonic()
        link.request("GET", path, headers={"Authorization": f"Api-Key {key}"})
        answer = link.getresponse()
        body = answer.read()
        answered = monotonic()
        answers.append((answer.status, (answered - start) * 1000))
        due += every
    link.close()
    return answers
