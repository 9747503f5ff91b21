"""Lines of access logs, as servers write them: what is read, what is skipped, what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from ops.consumers.access_log import LoggedRequest, UnreadableLine, parse

AT = datetime(2026, 11, 27, 10, 0, 1, tzinfo=UTC)
PATH = "/api/funds/1/companies?stage=Seed"
COMPANIES = ("10.0.0.7", AT, "GET", PATH, 200)
TIME = "27/Nov/2026:10:00:01 +0000"

READ = {
    "nginx": (
        f'10.0.0.7 - - [{TIME}] "GET {PATH} HTTP/1.1" 200 512 "-" "desk/2.1 (+ops@x.example)"',
        LoggedRequest(*COMPANIES, "desk/2.1 (+ops@x.example)"),
    ),
    "nginx with more members": (
        f'10.0.0.7 - - [{TIME}] "GET {PATH} HTTP/1.1" 200 512 "-" "curl/8.5" "203.0.113.9" 0.003',
        LoggedRequest(*COMPANIES, "curl/8.5"),
    ),
    "nginx escapes a quote": (
        f'10.0.0.7 - - [{TIME}] "GET {PATH} HTTP/1.1" 200 512 "-" "a \\x22b\\x22 \\x5C"',
        LoggedRequest(*COMPANIES, 'a "b" \\'),
    ),
    "Apache escapes a quote": (
        f'10.0.0.7 - - [{TIME}] "GET {PATH} HTTP/1.1" 200 512 "http://x/\\"" "a \\"b\\""',
        LoggedRequest(*COMPANIES, 'a "b"'),
    ),
    "Apache with a virtual host": (
        f'api.example:443 10.0.0.7 - - [{TIME}] "GET {PATH} HTTP/1.1" 200 - "-" "-"',
        LoggedRequest(*COMPANIES),
    ),
    "Apache common": (
        f'10.0.0.7 - - [{TIME}] "GET {PATH} HTTP/1.1" 200 512',
        LoggedRequest(*COMPANIES),
    ),
    "a user name with a space, another zone, IPv6": (
        '2001:db8::7 - a b [27/Nov/2026:11:00:01 +0100] "POST /x HTTP/2.0" 401 0 "-" "x"',
        LoggedRequest(
            "2001:db8::7",
            datetime(2026, 11, 27, 11, 0, 1, tzinfo=timezone(timedelta(hours=1))),
            "POST",
            "/x",
            401,
            "x",
        ),
    ),
    "TLS on a plain port": (
        f'192.0.2.1 - - [{TIME}] "\\x16\\x03\\x01\\x02" 400 150 "-" "-"',
        LoggedRequest("192.0.2.1", AT, "", "", 400),
    ),
    "an empty request line": (
        f'192.0.2.1 - - [{TIME}] "" 408 0 "-" "-"',
        LoggedRequest("192.0.2.1", AT, "", "", 408),
    ),
    "our own log": (
        '{"code": 200, "request": "GET /api/funds/1/companies?stage=[redacted]", '
        '"event": "request_finished", "request_id": "6f", "ip": "10.0.0.7", "user_id": "desk", '
        '"client": "desk", "user_agent": "desk/1", "level": "info", '
        '"logger": "django_structlog.middlewares.request", '
        '"timestamp": "2026-11-27T10:00:01.000000Z"}',
        LoggedRequest(
            *COMPANIES[:3], "/api/funds/1/companies?stage=[redacted]", 200, "desk/1", "desk", True
        ),
    ),
    "our own log, without a key": (
        '{"code": 401, "request": "GET /api/funds", "event": "request_finished", '
        '"ip": "10.0.0.7", "timestamp": "2026-11-27T10:00:01Z"}',
        LoggedRequest(*COMPANIES[:3], "/api/funds", 401, has_key=False),
    ),
    "JSON of nginx": (
        '{"time_iso8601": "2026-11-27T10:00:01+00:00", "remote_addr": "10.0.0.7", '
        f'"request": "GET {PATH} HTTP/1.1", "status": "200", "http_user_agent": "x", '
        '"http_authorization": "Api-Key abc.very-secret"}',
        LoggedRequest(*COMPANIES, "x", has_key=True),
    ),
    "JSON with milliseconds and no header": (
        '{"ts": 1795773601000, "ip": "10.0.0.7", "method": "GET", '
        f'"path": "{PATH}", "status_code": 200, "authorization": "-"}}',
        LoggedRequest(*COMPANIES, has_key=False),
    ),
    "Caddy": (
        '{"ts": 1795773601.0, "logger": "http.log.access", "status": 200, "request": {'
        f'"client_ip": "10.0.0.7", "method": "GET", "uri": "{PATH}", '
        '"headers": {"User-Agent": ["x"], "Authorization": ["REDACTED"]}}}',
        LoggedRequest(*COMPANIES, "x", has_key=True),
    ),
    "Traefik": (
        '{"ClientHost": "10.0.0.7", "RequestMethod": "GET", "DownstreamStatus": 200, '
        f'"RequestPath": "{PATH}", "time": "2026-11-27T10:00:01Z", "request_User-Agent": "x"}}',
        LoggedRequest(*COMPANIES, "x"),
    ),
}


@pytest.mark.parametrize("name", READ)
def test_a_line_of_each_server_is_one_request(name: str) -> None:
    line, expected = READ[name]
    assert parse(line.encode() + b"\n") == expected


@pytest.mark.parametrize(
    "line",
    [
        b'{"event": "request_started", "request": "GET /", "ip": "::1"}',
        b'{"event": "stage_not_canonical", "client": "desk"}',
        b"{}",
        b'{"request":' * 500 + b'"GET / HTTP/1.1"' + b"}" * 500,
        b'{"request": [], "status": [], "headers": {"request": {"request": {}}}}',
    ],
)
def test_other_records_of_a_json_log_are_skipped(line: bytes) -> None:
    assert parse(line) is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"garbage", "neither combined nor JSON"),
        (b"\xff\xfe\x00", "neither combined nor JSON"),
        (b'10.0.0.7 - - [yesterday] "GET / HTTP/1.1" 200 1 "-" "x"', "neither combined"),
        (b'10.0.0.7 - - [27/Nov/2026:10:00:01 +0000] "GET / HTTP/1.1" 200 1 "-" "x', "neither"),
        (b'10.0.0.7 - - [31/Feb/2026:10:00:01 +0000] "GET / HTTP/1.1" 200 1 "-" "x"', "the time"),
        (b'10.0.0.7 - - [27/Foo/2026:10:00:01 +0000] "GET / HTTP/1.1" 200 1 "-" "x"', "the time"),
        (b'{"half": ', "not valid JSON"),
        (b'{"a":' * 2_000 + b"1" + b"}" * 2_000, "not valid JSON"),
        (
            b'{"method": "GET", "path": "/", "status": 200, "time": "2026-11-27T10:00:01Z"}',
            "no address",
        ),
        (b'{"method": "GET", "path": "/", "status": 200, "ip": "::1"}', "no time"),
        (
            b'{"method": "GET", "path": "/", "status": 200, "ip": "::1", "ts": 1e300}',
            "the time cannot be read",
        ),
        (
            b'{"method": "GET", "path": "/", "status": "ok", "ip": "::1", "ts": 1}',
            "the status is not a number",
        ),
    ],
)
def test_a_line_that_cannot_be_read_is_refused_with_a_reason_and_without_its_text(
    line: bytes, reason: str
) -> None:
    with pytest.raises(UnreadableLine, match=reason) as refusal:
        parse(line)
    assert "10.0.0.7" not in str(refusal.value)
