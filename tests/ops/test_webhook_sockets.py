"""The webhook over real connections: rules that only raw bytes on the wire can test."""

import contextlib
import json
import select
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.conf import settings

from normalization import rollout_store
from normalization.models import RolloutChange
from normalization.rollout import Mode
from ops.alerts.models import WebhookDelivery
from tests.ops.deliveries import PATH, alert, payload, raw, signed
from tests.servers import PostgresServer, Service, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

BODY = raw(payload())
SIGNATURE, TIMESTAMP = "X-Alertmanager-Signature", "X-Alertmanager-Timestamp"


def begin(service: Service, head: list[str | bytes], body: bytes = b"") -> socket.socket:
    """Send a raw request and return the open connection."""
    lines = [line if isinstance(line, bytes) else line.encode() for line in head]
    link = socket.create_connection(("127.0.0.1", service.port), 60)
    link.sendall(
        b"\r\n".join([f"POST {PATH} HTTP/1.1".encode(), b"Host: 127.0.0.1", *lines, b"", b""])
    )
    with contextlib.suppress(ConnectionError):  # refused by its head alone
        link.sendall(body)
    return link


def rest(link: socket.socket) -> bytes:
    """Return all bytes until the connection ends."""
    found = b""
    with link, contextlib.suppress(ConnectionError):
        while piece := link.recv(65536):
            found += piece
    return found


def exchange(
    service: Service, head: list[str | bytes], body: bytes = b"", end: bool = False
) -> bytes:
    """Send a request and return the answer. `end` closes our side, as an aborting client."""
    link = begin(service, head, body)
    if end:
        link.shutdown(socket.SHUT_WR)
    return rest(link)


def status(answer: bytes) -> int:
    """Return the status of a raw answer, 0 if there is none."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/") else 0


def outcome(answer: bytes) -> str:
    """Return the outcome in a raw answer."""
    return str(json.loads(answer.split(b"\r\n\r\n", 1)[1])["outcome"])


def sent_until_taken(service: Service, head: list[str | bytes], body: bytes) -> bytes:
    """Repeat a delivery while the answer is 503, as Alertmanager does; return the other answer."""
    answers: list[bytes] = []

    def taken() -> bool:
        answers.append(exchange(service, head, body))
        return status(answers[-1]) != 503

    wait_until(taken, "an answer other than 503")
    return answers[-1]


def head(body: bytes = BODY, **instead: str | None) -> list[str | bytes]:
    """Return genuine header lines. `signature=None` leaves it out."""
    found = signed(body)
    values = {
        "signature": (SIGNATURE, found[SIGNATURE]),
        "timestamp": (TIMESTAMP, found[TIMESTAMP]),
        "length": ("Content-Length", str(len(body))),
    }
    lines: list[str | bytes] = ["Content-Type: application/json", "Connection: close"]
    for name, (header, value) in values.items():
        if (value := instead.get(name, value)) is not None:  # type: ignore[assignment]
            lines.append(f"{header}: {value}")
    return lines


def test_a_malformed_request_is_refused_without_effect(
    granian_server: Callable[..., Service], set_mode: Callable[..., int]
) -> None:
    """Send the whole table to one service: no 500, no downgrade; then a genuine one downgrades."""
    set_mode("enforce")
    service = granian_server(workers=1)
    genuine = signed(BODY)
    sign, stamp = genuine[SIGNATURE], genuine[TIMESTAMP]
    wrong = "0" * 64
    chunked = f"{len(BODY):x}\r\n".encode() + BODY + b"\r\n0\r\n\r\n"
    unsigned, stamped = head(signature=None, timestamp=None), head(signature=None)
    spoofed = [f"X_Alertmanager_Signature: {sign}", f"X_Alertmanager_Timestamp: {stamp}"]
    long = BODY + b" " * 300_000
    table: dict[str, tuple[int, list[str | bytes], bytes]] = {
        "header names with underscores": (401, [*unsigned, *spoofed], BODY),
        "one underscore in a name": (401, [*stamped, f"X-Alertmanager_Signature: {sign}"], BODY),
        "the true header wrong, the spoofed one right": (
            401,
            [*head(signature=wrong), spoofed[0]],
            BODY,
        ),
        "two signatures, the last right": (
            401,
            [*head(signature=wrong), f"{SIGNATURE}: {sign}"],
            BODY,
        ),
        "two signatures, the first right": (401, [*head(), f"{SIGNATURE}: {wrong}"], BODY),
        "the right signature twice": (401, [*head(), f"{SIGNATURE}: {sign}"], BODY),
        "two timestamps": (401, [*head(), f"{TIMESTAMP}: {stamp}"], BODY),
        "a signature that is not ASCII": (
            401,
            [*stamped, f"{SIGNATURE}: ".encode() + b"\xe9" + sign[1:].encode()],
            BODY,
        ),
        "a timestamp that is not UTF-8": (
            401,
            [*head(timestamp=None), f"{TIMESTAMP}: ".encode() + b"\xff\xfe"],
            BODY,
        ),
        "chunked without length": (
            411,
            [*head(length=None), "Transfer-Encoding: chunked"],
            chunked,
        ),
        "chunked with length": (400, [*head(), "Transfer-Encoding: chunked"], chunked),
        "two lengths": (400, [*head(), "Content-Length: 5"], BODY),
        "no length and no body": (411, head(length=None), b""),
        "a length that is no number": (400, head(length="abc"), BODY),
        "a length of 5,000 digits": (400, head(length="9" * 5000), BODY),
        "300 KB": (413, head(long), long),
        "a length shorter than what was signed": (401, head(length=str(len(BODY) - 1)), BODY),
    }
    answers = {name: exchange(service, lines, body) for name, (_, lines, body) in table.items()}
    found = {name: status(answer) for name, answer in answers.items()}
    # Chunked with a length is for HTTP/1.1 (RFC 9112, 6.3) chunked; the server may also refuse it.
    assert found.pop("chunked with length") in {400, 411}
    assert found == {name: code for name, (code, _, _) in table.items() if name in found}
    assert status(exchange(service, head(length=str(len(BODY) + 10)), BODY, end=True)) in {0, 400}
    assert rollout_store.newest().rollout.mode is Mode.ENFORCE
    assert status(exchange(service, head(), BODY)) == 200
    assert rollout_store.newest().rollout.mode is Mode.WARN
    log = service.log.read_text()
    assert "Traceback" not in log
    for secret in (*settings.ALERTMANAGER_WEBHOOK_SECRETS, sign):
        assert secret not in log


def test_missing_bodies_block_no_worker_and_time_out_after_10_s(
    granian_server: Callable[..., Service], set_mode: Callable[..., int]
) -> None:
    set_mode("enforce")
    service = granian_server(workers=1, threads=2)
    outcomes = []

    def in_time() -> bool:
        """With ten idle connections per thread, another is served first and within 2 s."""
        started = time.monotonic()
        with contextlib.ExitStack() as opened:
            idle = [
                opened.enter_context(begin(service, head(), BODY[: number % 5]))
                for number in range(20)
            ]
            asked = time.monotonic()
            answer = exchange(service, head(), BODY)
            served, waiting = time.monotonic() - asked, not select.select(idle, [], [], 0)[0]
            outcomes.append((status(answer), outcome(answer)))
            given_up_on = [rest(link) for link in idle]
            assert [status(answer) for answer in given_up_on] == [408] * 20
            assert all(b'"/problems/malformed-body"' in answer for answer in given_up_on)
        given_up = time.monotonic() - started
        assert given_up > 9
        return waiting and served < 2 and given_up < 12

    # A busy machine only lengthens these times: one fast attempt proves the limits.
    assert any(in_time() for _ in range(3))
    assert outcomes[0] == (200, "downgraded")


def test_without_a_database_the_answer_is_503_and_the_retry_downgrades(
    granian_server: Callable[..., Service],
    postgres_server: PostgresServer,
    set_mode: Callable[..., int],
) -> None:
    service = granian_server(workers=1, env={"DATABASE_URL": postgres_server.url()})
    service.manage("migrate", "--verbosity", "0")
    for mode in ("warn", "enforce"):
        service.manage("stage_mode", "set", mode, "--reason", "a test")
    postgres_server.stop()
    lines = head()
    answer = exchange(service, lines, BODY)
    assert status(answer) == 503
    assert b"retry-after" in answer.lower()
    postgres_server.start()
    answer = sent_until_taken(
        service, lines, BODY
    )  # the same delivery: the failed attempt did not use up its signature
    assert (status(answer), outcome(answer)) == (200, "downgraded")
    assert json.loads(service.manage("stage_mode", "show", "--json"))["mode"] == "warn"


def test_simultaneous_deliveries_to_several_processes_downgrade_once(
    granian_server: Callable[..., Service], set_mode: Callable[..., int]
) -> None:
    set_mode("enforce")
    service = granian_server(workers=2)
    lines = head()
    other = raw(payload(alert(instance="other")))
    jobs = [(BODY, lines)] * 8 + [(other, head(other))] * 8
    with ThreadPoolExecutor(len(jobs)) as senders:
        answers = list(senders.map(lambda job: sent_until_taken(service, job[1], job[0]), jobs))
    outcomes = [outcome(answer) for answer in answers]
    assert sorted(outcomes) == ["already", "downgraded"] + ["repeated"] * 14
    assert RolloutChange.objects.filter(source="alert").count() == 1
    assert WebhookDelivery.objects.count() == 2
