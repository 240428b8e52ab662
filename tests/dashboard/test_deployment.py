"""The files of deploy/ do what the page on deployment says; programs that are not installed are skipped with a reason."""

from __future__ import annotations

import re
import shlex
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from xstxm import cli
from xstxm._commands.serving import KEEP_ALIVE, Serving

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
if not DEPLOY.is_dir():
    pytest.skip("no deploy/ beside the tests", allow_module_level=True)

UNIT = DEPLOY / "xstxm-explorer.service"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


@pytest.fixture
def started(monkeypatch):
    """What `xstxm dashboard` would serve, with the folders of a deployment taken as there."""
    found: list[Serving] = []
    monkeypatch.setattr(Serving, "check", lambda self: self._check_origins() or found.append(self))
    monkeypatch.setattr(cli.subprocess, "call", lambda *_, **__: 0)
    return found


def _directives() -> dict[str, list[str]]:
    lines = [line for line in UNIT.read_text().splitlines() if "=" in line and not line.startswith("#")]
    found: dict[str, list[str]] = {}
    for line in lines:
        name, _, value = line.partition("=")
        found.setdefault(name, []).append(value)
    return found


def test_unit__starts_what_the_command_takes(started):
    program, *arguments = shlex.split(_directives()["ExecStart"][0])
    assert program.endswith("/xstxm")
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 0, result.output
    assert started[0].is_local
    assert started[0].root == Path("/srv/stxm")
    assert not started[0].show


def test_unit__is_locked_down():
    found = _directives()
    assert found["NoNewPrivileges"] == found["PrivateTmp"] == found["DynamicUser"] == ["yes"]
    assert found["ProtectSystem"] == ["strict"]
    assert found["ProtectHome"] == ["yes"]
    assert found["CapabilityBoundingSet"] == [""]
    assert (found["IPAddressDeny"], found["IPAddressAllow"]) == (["any"], ["localhost"])
    assert "ReadWritePaths" not in found
    assert "MemoryDenyWriteExecute" not in found  # Numba compiles
    assert not [value for values in found.values() for value in values if "PANEL_" in value]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_unit__is_sound_for_systemd(tmp_path):
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/xstxm/bin/xstxm", "/bin/true"))
    checked = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True)
    ours = [line for line in checked.stderr.splitlines() if UNIT.name in line]
    assert not ours


def test_nginx__outlasts_the_silence_between_signs_of_life():
    text = (DEPLOY / "nginx.conf").read_text()
    (seconds,) = re.findall(r"proxy_read_timeout (\d+)s", text)
    assert int(seconds) * 1000 > 2 * KEEP_ALIVE
    assert "proxy_set_header Upgrade $http_upgrade;" in text
    assert "proxy_set_header Connection $connection_upgrade;" in text


def test_container__runs_as_nobody_and_serves_what_is_mounted(started):
    text = (DEPLOY / "Containerfile").read_text()
    assert re.search(r"^USER 10001$", text, re.MULTILINE)
    entry = re.search(r"^ENTRYPOINT (\[.*\])$", text, re.MULTILINE)
    assert entry is not None
    _, *arguments = [part.strip(' "') for part in entry[1].strip("[]").split(",")]
    refused = CliRunner().invoke(cli.app, arguments)
    assert "say where the page will be" in refused.output
    served = CliRunner().invoke(cli.app, [*arguments, "--allow-websocket-origin", "127.0.0.1:5006"])
    assert served.exit_code == 0, served.output
    assert started[0].root == Path("/data")


def test_container__copies_what_is_there():
    for line in re.findall(r"^COPY (?!--from)(.*)$", (DEPLOY / "Containerfile").read_text(), re.MULTILINE):
        for part in line.split()[:-1]:
            assert (ROOT / part).exists(), part


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _configured(folder: Path, plain: int, secure: int, behind: int) -> Path:
    """Write the configuration for ports and a certificate of this test."""
    names = ["-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt"), "-subj", "/CN=stxm.example.org"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *names]
    subprocess.run(command, check=True, capture_output=True)
    text = (DEPLOY / "nginx.conf").read_text()
    text = re.sub(r"listen \[::\]:.*\n", "\n", text)
    text = text.replace("listen 80;", f"listen 127.0.0.1:{plain};").replace(
        "listen 443 ssl", f"listen 127.0.0.1:{secure} ssl"
    )
    text = text.replace("127.0.0.1:5006", f"127.0.0.1:{behind}")
    text = re.sub(r"/etc/nginx/tls/stxm\.example\.org", str(folder / "tls"), text)
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    whole = folder / "nginx.conf"
    whole.write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{temporary}{text}}}\n"
    )
    return whole


@contextmanager
def _running(command: list[str], port: int, log: Path, **options) -> Iterator[None]:
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, **options)
        try:
            for _ in range(200):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                assert process.poll() is None, log.read_text()
                time.sleep(0.1)
            yield
        finally:
            process.terminate()
            process.wait(15)


def _ask(port: int, lines: list[str], *, secure: bool = True) -> str:
    """Return the head of the answer to a request."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), timeout=20) as plain:
        connection = context.wrap_socket(plain, server_hostname="stxm.example.org") if secure else plain
        connection.sendall(
            ("\r\n".join(["GET " + lines[0], "Host: stxm.example.org", *lines[1:]]) + "\r\n\r\n").encode()
        )
        return connection.recv(4000).decode("latin-1")


def _upgrade(port: int, origin: str) -> str:
    lines = ["/explorer/ws HTTP/1.1", f"Origin: {origin}", "Connection: Upgrade", "Upgrade: websocket"]
    lines += [
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol: bokeh, none",
    ]
    return _ask(port, lines).split()[1]


@pytest.mark.skipif(NGINX is None or shutil.which("openssl") is None, reason="no nginx or openssl here")
def test_nginx__lets_a_page_of_its_host_through_and_no_other(filled, tmp_path):
    plain, secure, behind = _free_ports(3)
    whole = _configured(tmp_path, plain, secure, behind)
    checked = subprocess.run([NGINX, "-t", "-c", str(whole)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    serving = Serving(filled, port=behind, origins=("stxm.example.org",))
    environment = serving.environment({"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)})
    with (
        _running(serving.command(), behind, tmp_path / "server.log", env=environment, cwd=tmp_path),
        _running([str(NGINX), "-c", str(whole)], secure, tmp_path / "nginx.log"),
    ):
        assert "301" in _ask(plain, ["/explorer HTTP/1.1"], secure=False).split("\r\n")[0]
        answer = _ask(secure, ["/static/js/bokeh.min.js HTTP/1.1"])
        assert answer.startswith("HTTP/1.1 200")
        assert "Strict-Transport-Security" in answer
        assert _upgrade(secure, "https://stxm.example.org") == "101"
        assert _upgrade(secure, "https://evil.example.org") == "403"
        answers = [_ask(secure, ["/login HTTP/1.1"]).split()[1] for _ in range(15)]
        assert answers[0] == "404"  # there is no log-in page where there is no log-in
        assert answers[-1] == "503"


def test_page__names_variables_that_panel_reads():
    import panel

    source = "".join((Path(panel.__file__).parent / name).read_text() for name in ("config.py", "auth.py"))
    page = (ROOT / "docs" / "deployment.md").read_text()
    named = set(re.findall(r"PANEL_[A-Z_]+", page))
    assert len(named) > 10
    assert not [name for name in named if f"'{name}'" not in source]


def test_page__names_options_that_the_command_has():
    from typer.main import get_command

    known = {option for one in get_command(cli.app).commands["dashboard"].params for option in one.opts}
    page = (ROOT / "docs" / "deployment.md").read_text()
    named = set(re.findall(r"`(--[a-z-]+)", page))
    assert {"--root", "--output", "--max-sessions"} <= named
    assert named <= known


def test_page__says_the_limits_as_they_are():
    from stxm_explorer import access, capacity, catalogue, outputs, uploads

    from xstxm._commands import serving

    page = (ROOT / "docs" / "deployment.md").read_text()
    assert f"| pages at once | {capacity.MOST} |" in page
    assert f"| a message of a page | {serving.MESSAGE // 2**20} MiB |" in page
    assert f"{uploads.LARGEST // 10**6} MB, {uploads.MOST_LINES:,} lines".replace(",0", " 0") in page
    assert f"| a download | {outputs.LARGEST_DOWNLOAD // 10**6} MB |" in page
    assert f"| {access.MAX_FILES:,}, ".replace(",0", " 0", 1) in page
    assert catalogue.MAX_DEPTH == 8
    assert Serving(ROOT).session_minutes == 5
