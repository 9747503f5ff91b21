"""The files of ops/deploy are what the programs accept, and what docs/deployment.md describes."""

from __future__ import annotations

import configparser
import http.client
import os
import re
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import kubernetes_validate
import psycopg
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings as django_settings
from django.db import connection

from stagenorm.settings import read
from tests import children
from tests.conftest import _address
from tests.servers import PgBouncer, Service, free_port, wait_until

DEPLOY = Path(__file__).resolve().parents[2] / "ops" / "deploy"
ROOT = DEPLOY.parents[1]
UNITS = sorted(path.name for path in (DEPLOY / "systemd").iterdir())
KUBERNETES = "1.31"
HOST = "stagenorm.example"


def program(name: str) -> str:
    """Return the path of a program of .ci/run; skip the test where it is missing."""
    found = shutil.which(name)
    if found:
        return found
    if os.environ.get("REQUIRE_E2E") == "1":
        pytest.fail(f"REQUIRE_E2E=1 needs {name}: install it as .ci/run does")
    pytest.skip(f"needs {name}: install it as .ci/run does")


def served(text: str) -> list[str]:
    """Return the arguments of granian in a unit or in the Containerfile, the host apart."""
    return (
        re.sub(r'[",]', "", text).replace("127.0.0.1", "HOST").replace("0.0.0.0", "HOST").split()
    )


def test_systemd_accepts_every_unit(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze")
    binaries = tmp_path / ".venv" / "bin"
    binaries.mkdir(parents=True)
    for name in ("python", "granian"):
        (binaries / name).symlink_to("/bin/true")
    copies = []
    for name in UNITS:
        text = (DEPLOY / "systemd" / name).read_text()
        (tmp_path / name).write_text(text.replace("/srv/stagenorm", str(tmp_path)))
        copies.append(tmp_path / name)
    done = children.run(["systemd-analyze", "verify", "--man=no", *copies])
    own = [line for line in done.stderr.splitlines() if "stagenorm" in line]
    assert (done.returncode, own) == (0, []), done.stderr


def test_the_containerfile_copies_what_exists_and_serves_as_the_unit_does() -> None:
    text = (DEPLOY / "Containerfile").read_text()
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        *sources, _ = line.split()
        assert all((ROOT / source).exists() for source in sources), line
    unit = (DEPLOY / "systemd" / "stagenorm.service").read_text()
    [command] = re.findall(r"^ExecStart=\S+/granian (.+)$", unit, re.MULTILINE)
    [container] = re.findall(r'^CMD \["granian", (.+)\]$', text, re.MULTILINE)
    assert served(container) == served(command)


def test_the_example_of_the_environment_has_known_variables_and_all_required_ones() -> None:
    lines = (DEPLOY / "env.example").read_text().splitlines()
    given = {line.partition("=")[0] for line in lines if line and not line.startswith("#")}
    declared = {variable.name: variable.default for variable in read.variables}
    assert given <= set(declared)
    assert {name for name, default in declared.items() if "demanded" in default} <= given


def test_kubernetes_accepts_every_manifest_and_every_pod_runs_without_rights() -> None:
    documents = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "stagenorm.yaml").read_text()))
    pods = []
    for document in documents:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
        spec = document["spec"]
        job = spec.get("jobTemplate", {}).get("spec", {})
        if template := spec.get("template") or job.get("template"):
            pods.append(template["spec"])
    assert len(pods) == 3
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"] + pod.get("initContainers", []):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes


@pytest.mark.e2e
@pytest.mark.django_db(transaction=True)
def test_pgbouncer_serves_with_the_configuration() -> None:
    parsed = configparser.ConfigParser(delimiters=("=",), comment_prefixes=(";",))
    parsed.read(DEPLOY / "pgbouncer.ini")
    theirs = ("listen_addr", "listen_port", "auth_type", "auth_file")
    own = {name: value for name, value in parsed["pgbouncer"].items() if name not in theirs}
    pooler = PgBouncer(_address(connection.settings_dict), own)
    try:
        pooler.start()
        with psycopg.connect(pooler.url(connection.settings_dict["NAME"])) as link:
            assert link.execute("SELECT 1").fetchone() == (1,)
        with psycopg.connect(pooler.url("pgbouncer"), autocommit=True) as console:
            shown = {name: value for name, value, *_ in console.execute("SHOW CONFIG")}
        assert {name: shown[name] for name in own} == own
    finally:
        pooler.remove()


@dataclass
class Proxy:
    """nginx with the configuration of ops/deploy; one of its two instances is down."""

    plain: int
    secure: int
    trusted: ssl.SSLContext

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, Any]:
        """Send a request over TLS; return status and headers."""
        link = http.client.HTTPSConnection("127.0.0.1", self.secure, context=self.trusted)
        return _answer(link, method, path, body, headers)

    def ask_plain(self, path: str) -> tuple[int, Any]:
        """Send a GET over plain http."""
        return _answer(http.client.HTTPConnection("127.0.0.1", self.plain), "GET", path, None, {})


def _answer(
    link: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None,
    headers: dict[str, str],
) -> tuple[int, Any]:
    try:
        sent = {"Host": HOST, **{name.replace("_", "-"): value for name, value in headers.items()}}
        link.request(method, path, body, sent)
        answer = link.getresponse()
        answer.read()
        return answer.status, answer.headers
    finally:
        link.close()


def certificate(directory: Path) -> tuple[Path, Path]:
    """Write a self-signed certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    chain, private = directory / "stagenorm.pem", directory / "stagenorm.key"
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return chain, private


@pytest.fixture
def proxy(granian_server: Callable[..., Service]) -> Iterator[Proxy]:
    """A started nginx before one instance that demands https."""
    command = program("nginx")
    service = granian_server(
        1,
        env={
            "DJANGO_HTTPS_ONLY": "1",
            "DJANGO_BEHIND_PROXY": "1",
            "DJANGO_ALLOWED_HOSTS": f"{HOST},127.0.0.1",
            "ANONYMOUS_THROTTLE": "5/minute",
        },
    )
    directory = Path(tempfile.mkdtemp(prefix="stagenorm-nginx-"))
    directory.chmod(0o755)  # as root the workers run as nobody
    chain, private = certificate(directory)
    plain, secure = free_port(), free_port()
    text = (DEPLOY / "nginx.conf").read_text()
    for given, own in {
        "127.0.0.1:8000": f"127.0.0.1:{free_port()}",
        "127.0.0.1:8001": f"127.0.0.1:{service.port}",
        "listen 80;": f"listen 127.0.0.1:{plain};",
        "listen 443 ssl;": f"listen 127.0.0.1:{secure} ssl;",
        "/etc/ssl/certs/stagenorm.pem": str(chain),
        "/etc/ssl/private/stagenorm.key": str(private),
    }.items():
        assert given in text
        text = text.replace(given, own)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {directory}/{kind};\n" for kind in kinds)
    log, pid = f"error_log {directory}/log;\n", f"pid {directory}/pid;\n"
    whole = f"daemon off;\n{pid}{log}events {{}}\nhttp {{\naccess_log off;\n{places}{text}}}\n"
    (directory / "nginx.conf").write_text(whole)
    line = [command, "-e", str(directory / "log"), "-c", str(directory / "nginx.conf")]
    tested = children.run([*line, "-t"])
    assert (tested.returncode, "[warn]" in tested.stderr) == (0, False), tested.stderr
    trusted = ssl.create_default_context(cafile=str(chain))
    trusted.check_hostname = False
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = children.start(line, **quiet)
    found = Proxy(plain, secure, trusted)
    try:
        wait_until(lambda: _listens(found), "nginx")
        yield found
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(directory)


def _listens(proxy: Proxy) -> bool:
    try:
        return proxy.ask_plain("/")[0] == 301
    except OSError:
        return False


def test_nginx_serves_over_tls_hides_the_probes_limits_logins_and_sets_the_address_of_a_client(
    proxy: Proxy,
) -> None:
    status, headers = proxy.ask_plain("/api/stages?x=1")
    assert (status, headers["Location"]) == (301, f"https://{HOST}/api/stages?x=1")
    status, headers = proxy.ask("GET", "/admin/login/")
    assert (status, "max-age" in headers["Strict-Transport-Security"]) == (200, True)
    for path in ("/healthz", "/readyz", "/metrics", "/_ops/stage-validation/mode"):
        assert proxy.ask("GET", path)[0] == 404, path
    limit = django_settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    assert proxy.ask("POST", "/api/stages/normalize", b"x" * (limit + 1))[0] == 413
    logins = [proxy.ask("POST", "/admin/login/", b"")[0] for _ in range(15)]
    assert (logins[0], logins[-1]) == (403, 429)
    statuses = [
        proxy.ask("GET", "/api/deprecations", X_Forwarded_For=f"192.0.2.{number}")[0]
        for number in range(6)
    ]
    assert statuses == [200] * 5 + [429]


def test_the_documentation_names_every_file() -> None:
    text = (ROOT / "docs" / "deployment.md").read_text()
    files = [path.relative_to(ROOT) for path in DEPLOY.rglob("*") if path.is_file()]
    assert [str(path) for path in files if str(path) not in text] == []
    assert f"Kubernetes {KUBERNETES}" in text
