"""Who is let in: the command that serves, its environment, and how many pages are open."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from types import SimpleNamespace

import pytest
from bokeh.document import Document
from panel.io.state import set_curdoc
from stxm_explorer.capacity import GRACE, MOST, Sessions, admitted, busy_page, most_sessions
from typer.testing import CliRunner

from xstxm import cli
from xstxm._commands import scheduling
from xstxm._commands import serving as rooms
from xstxm._commands.serving import Serving, check_login, dashboard_script, has_login
from xstxm.errors import OptionError

RUN = CliRunner()


@pytest.fixture
def port():
    """A port that is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _origins(command):
    return [command[at + 1] for at, part in enumerate(command) if part == "--allow-websocket-origin"]


def _value(command, option):
    return command[command.index(option) + 1]


def test_command__is_for_this_computer_only(tmp_path, port):
    serving = Serving(tmp_path, port=port)
    serving.check()
    command = serving.command()
    assert _value(command, "--address") == "127.0.0.1"
    assert _origins(command) == [f"127.0.0.1:{port}", f"localhost:{port}"]
    assert "--show" not in command
    assert not {"--num-procs", "--num-threads", "--basic-auth", "--autoreload", "--dev", "--admin"} & {*command}


def test_command__sets_the_limits(tmp_path):
    command = Serving(tmp_path, session_minutes=2, check_minutes=0.5, show=True).command()
    assert _value(command, "--unused-session-lifetime") == "120000"
    assert _value(command, "--check-unused-sessions") == "30000"
    assert int(_value(command, "--websocket-max-message-size")) < 20 * 2**20
    assert 0 < int(_value(command, "--keep-alive")) < 60_000
    assert command[-1] == "--show"


def test_command__uses_pages_of_its_own_for_the_log_in(tmp_path):
    command = Serving(tmp_path).command()
    for option in ("--basic-login-template", "--logout-template", "--oauth-error-template"):
        assert _value(command, option) == str(dashboard_script().with_name("login.html"))
    page = dashboard_script().with_name("login.html").read_text()
    assert "http" not in page.replace('method="post"', "")
    assert "{{ errormessage|escape }}" in page


def test_command__takes_only_options_that_panel_knows(tmp_path):
    import argparse

    from panel.command.serve import Serve

    parser = argparse.ArgumentParser()
    Serve(parser)
    parsed = parser.parse_args(Serving(tmp_path, origins=("stxm.example.org",), show=True).command()[5:])
    assert parsed.websocket_max_message_size == rooms.MESSAGE
    assert "stxm.example.org" in parsed.allow_websocket_origin


def test_command__imports_nothing_from_the_folder_where_it_starts(tmp_path):
    for name in ("param", "panel", "signal", "stxm_explorer"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the folder of the data')\n")
    command = Serving(tmp_path).command()
    asked = [*command[: command.index("serve") + 1], "--help"]
    assert subprocess.run(asked, cwd=tmp_path, capture_output=True).returncode == 0


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_address__of_this_computer_needs_no_origin(tmp_path, address):
    serving = Serving(tmp_path, address=address, port=5006)
    assert serving.is_local
    host = "[::1]" if address == "::1" else address
    assert serving.hosts[0] == f"{host}:5006"


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.7", "stxm.example.org", ""])
def test_address__of_others_needs_an_origin(tmp_path, address):
    assert not Serving(tmp_path, address=address).is_local
    with pytest.raises(OptionError, match="say where the page will be"):
        Serving(tmp_path, address=address).check()


def test_address__with_an_origin_lets_that_in_and_no_other(tmp_path, port):
    serving = Serving(tmp_path, address="0.0.0.0", port=port, origins=("stxm.example.org",))
    serving.check()
    assert _origins(serving.command()) == ["stxm.example.org"]


@pytest.mark.parametrize(
    "origin",
    [
        "*",
        "*.example.org",
        "https://stxm.example.org",
        "stxm.example.org/explorer",
        "a b",
        "",
        "a,b",
        "a:port",
        "--show",
    ],
)
def test_origin__that_is_no_host_is_refused(tmp_path, origin):
    with pytest.raises(OptionError, match="name the host as the browser shows it"):
        Serving(tmp_path, origins=(origin,)).check()


@pytest.mark.parametrize(
    "origin", ["stxm.example.org", "stxm.example.org:8443", "192.0.2.7:5006", "[2001:db8::7]:5006"]
)
def test_origin__of_a_proxy_is_added(tmp_path, port, origin):
    serving = Serving(tmp_path, port=port, origins=(origin,))
    serving.check()
    assert _origins(serving.command())[-1] == origin


@pytest.mark.parametrize("address", ["10.0.0.5:8786", "http://10.0.0.5:8786", "tcp://10.0.0.5", "tcp://a b:1", ""])
def test_scheduler__that_is_no_address_is_refused(tmp_path, address):
    with pytest.raises(OptionError, match="write its address and port as it says itself"):
        Serving(tmp_path, scheduler=address).check()


def test_scheduler__without_its_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(scheduling, "find_spec", lambda name: None)
    with pytest.raises(OptionError, match="pip install distributed"):
        Serving(tmp_path, scheduler="tcp://127.0.0.1:8786").check()


def test_output__has_to_be_a_folder_that_can_be_written_to(tmp_path):
    with pytest.raises(OptionError, match="that folder does not exist: make it first"):
        Serving(tmp_path, output=tmp_path / "absent").check()
    (tmp_path / "file").write_text("x")
    with pytest.raises(OptionError, match="that folder does not exist"):
        Serving(tmp_path, output=tmp_path / "file").check()


def test_output__that_is_read_only_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(rooms.os, "access", lambda *_: False)
    with pytest.raises(OptionError, match="cannot be written to"):
        Serving(tmp_path, output=tmp_path).check()


def test_minutes__that_do_not_go_together_are_refused(tmp_path):
    with pytest.raises(OptionError, match="look at least once"):
        Serving(tmp_path, session_minutes=1, check_minutes=2).check()


def test_port__of_an_address_that_is_not_here_is_refused(tmp_path, port):
    with pytest.raises(OptionError, match="this computer has no such address"):
        Serving(tmp_path, address="192.0.2.7", port=port, origins=("a.example.org",)).check()


def test_environment__carries_the_settings_and_nothing_that_sets_them_aside(tmp_path):
    (tmp_path / "a.hdf5").write_bytes(b"x")
    (tmp_path / "out").mkdir()
    serving = Serving(
        tmp_path, file=tmp_path / "a.hdf5", output=tmp_path / "out", scheduler="tcp://10.0.0.5:8786", max_sessions=7
    )
    given = {"PATH": "/bin", "BOKEH_ALLOW_WS_ORIGIN": "*", "BOKEH_RESOURCES": "cdn", "PANEL_NUM_THREADS": "4"}
    assert serving.environment(given) == {
        "PATH": "/bin",
        "XSTXM_ROOT": str(tmp_path),
        "XSTXM_FILE": str(tmp_path / "a.hdf5"),
        "XSTXM_OUTPUT": str(tmp_path / "out"),
        "XSTXM_SCHEDULER": "tcp://10.0.0.5:8786",
        "XSTXM_MAX_SESSIONS": "7",
    }


def test_environment__leaves_nothing_from_an_earlier_server(tmp_path):
    found = Serving(tmp_path).environment(
        {"XSTXM_OUTPUT": "/elsewhere", "XSTXM_FILE": "x", "XSTXM_SCHEDULER": "tcp://a:1"}
    )
    assert found["XSTXM_OUTPUT"] == found["XSTXM_FILE"] == found["XSTXM_SCHEDULER"] == ""


def test_environment__with_a_log_in_has_a_secret_for_its_cookies(tmp_path):
    serving = Serving(tmp_path)
    assert not has_login({})
    assert not has_login({"PANEL_BASIC_AUTH": ""})
    given = {"PANEL_BASIC_AUTH": "swordfish"}
    assert has_login(given)
    first, second = (serving.environment(given)["PANEL_COOKIE_SECRET"] for _ in range(2))
    assert len(first) > 30
    assert first != second
    assert serving.environment({**given, "PANEL_COOKIE_SECRET": "kept"})["PANEL_COOKIE_SECRET"] == "kept"
    assert "PANEL_COOKIE_SECRET" not in serving.environment({})


@pytest.mark.parametrize("optional", ["1", "true", "True"])
def test_login__that_guests_may_pass_by_is_none(optional):
    assert not has_login({"PANEL_OAUTH_PROVIDER": "github", "PANEL_OAUTH_OPTIONAL": optional})


def test_login__panel_would_understand_otherwise_is_refused(tmp_path):
    users = tmp_path / "users.json"
    with pytest.raises(OptionError, match="there is no such file, and its path would be the password"):
        check_login({"PANEL_BASIC_AUTH": str(users).lower()})
    with pytest.raises(OptionError, match="there is no such file"):
        check_login({"PANEL_BASIC_AUTH": "users.json"})
    users.write_text("{}")
    check_login({"PANEL_BASIC_AUTH": str(users)})
    check_login({"PANEL_BASIC_AUTH": "swordfish"})
    check_login({})
    with pytest.raises(OptionError, match="Panel reads it in lower case") as error:
        check_login({"PANEL_BASIC_AUTH": "SwordFish"})
    assert "fish" not in str(error.value).lower()


def test_login__panel_reads_capitals_as_small_letters(monkeypatch):
    """Where this fails, a new version of Panel keeps capitals, and `check_login` need not refuse them."""
    from panel.config import config

    monkeypatch.setenv("PANEL_BASIC_AUTH", "SwordFish")
    assert config.basic_auth == "swordfish"


@pytest.fixture
def called(monkeypatch):
    """What the command starts."""
    calls = []
    monkeypatch.setattr(cli.subprocess, "call", lambda command, env: calls.append((command, env)) or 0)
    for name in ("PANEL_BASIC_AUTH", "PANEL_OAUTH_PROVIDER", "PANEL_COOKIE_SECRET"):
        monkeypatch.delenv(name, raising=False)
    return calls


def test_dashboard__starts_the_server_with_what_was_asked(tmp_path, port, called):
    (tmp_path / "out").mkdir()
    options = ["--root", str(tmp_path), "--output", str(tmp_path / "out"), "--port", str(port), "--max-sessions", "3"]
    result = RUN.invoke(cli.app, ["dashboard", *options, "--session-minutes", "2", "--no-show"])
    assert result.exit_code == 0, result.output
    assert f"at http://127.0.0.1:{port}/explorer" in result.output
    assert "warning" not in result.output
    ((command, environment),) = called
    assert _value(command, "--unused-session-lifetime") == "120000"
    assert environment["XSTXM_MAX_SESSIONS"] == "3"
    assert environment["XSTXM_OUTPUT"] == str(tmp_path / "out")


def test_dashboard__on_the_network_without_a_log_in_warns(tmp_path, port, called, monkeypatch):
    options = ["dashboard", "--root", str(tmp_path), "--address", "0.0.0.0", "--port", str(port), "--no-show"]
    refused = RUN.invoke(cli.app, options)
    assert refused.exit_code == 1
    assert "--allow-websocket-origin stxm.example.org" in refused.output
    assert not called
    options += ["--allow-websocket-origin", "stxm.example.org"]
    assert "there is no log-in" in RUN.invoke(cli.app, options).output
    monkeypatch.setenv("PANEL_BASIC_AUTH", "swordfish")
    assert "there is no log-in" not in RUN.invoke(cli.app, options).output
    command, environment = called[-1]
    assert not [part for part in command if "swordfish" in part]
    assert environment["PANEL_BASIC_AUTH"] == "swordfish"


def test_dashboard__errors_name_the_options(tmp_path, called):
    result = RUN.invoke(cli.app, ["dashboard", "--root", str(tmp_path), "--allow-websocket-origin", "*", "--no-show"])
    assert "--allow-websocket-origin" in result.output
    assert result.exit_code == 1
    assert not called


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self):
        return self.now


def _context(name, connected=1, away=0.0):
    expired = []
    session = SimpleNamespace(
        connection_count=connected,
        milliseconds_since_last_unsubscribe=away * 1000,
        request_expiration=lambda: expired.append(name),
        expired=expired,
    )
    return SimpleNamespace(id=name, session=session)


def test_sessions__refuse_one_too_many_until_one_is_closed(caplog):
    sessions = Sessions(2)
    one, two, three = (_context(name) for name in "abc")
    assert sessions.admit(one)
    assert sessions.admit(two)
    assert not sessions.admit(three)
    assert "refused a page: 2 are open" in caplog.text
    assert len(sessions) == 2
    sessions.release(one)
    sessions.release(one)
    assert sessions.admit(three)


def test_sessions__count_one_page_once():
    sessions = Sessions(1)
    one = _context("a")
    assert sessions.admit(one)
    assert sessions.admit(one)
    assert len(sessions) == 1


def test_sessions__give_away_the_place_of_a_page_that_was_closed():
    clock = Clock()
    sessions = Sessions(2, clock=clock)
    watched, closed = _context("a"), _context("b", connected=0, away=0)
    assert sessions.admit(watched)
    assert sessions.admit(closed)
    clock.now = GRACE + 1
    assert not sessions.admit(_context("c"))
    closed.session.milliseconds_since_last_unsubscribe = (GRACE + 1) * 1000
    assert sessions.admit(_context("c"))
    assert closed.session.expired == ["b"]
    assert watched.session.expired == []


def test_sessions__keep_the_place_of_a_page_that_is_being_made():
    clock = Clock()
    sessions = Sessions(1, clock=clock)
    assert sessions.admit(SimpleNamespace(id="a", session=None))
    clock.now = GRACE - 1
    assert not sessions.admit(_context("b"))
    clock.now = GRACE + 1  # making it failed
    assert sessions.admit(_context("b"))


def test_sessions__of_many_threads_are_counted_right():
    sessions, admitted_ones = Sessions(10), []
    threads = [
        threading.Thread(target=lambda k=k: admitted_ones.append(sessions.admit(_context(str(k))))) for k in range(50)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(admitted_ones) == 10


def test_admitted__takes_a_place_until_the_session_is_destroyed():
    document = Document()
    document._session_context = lambda: _context("a")
    sessions = Sessions(1)
    with set_curdoc(document):
        assert admitted(sessions)
    other = Document()
    other._session_context = lambda: _context("b")
    with set_curdoc(other):
        assert not admitted(sessions)
    for callback in document.callbacks.session_destroyed_callbacks:
        callback(_context("a"))
    assert len(sessions) == 0


def test_admitted__without_a_server_takes_no_place():
    sessions = Sessions(1)
    assert admitted(sessions)
    assert len(sessions) == 0


@pytest.mark.parametrize(
    ("said", "most"), [("3", 3), ("", MOST), ("0", MOST), ("-1", MOST), ("many", MOST), ("²", MOST)]
)
def test_most_sessions__comes_from_the_environment(monkeypatch, said, most):
    monkeypatch.setenv("XSTXM_MAX_SESSIONS", said)
    assert most_sessions() == most


def test_busy_page__says_what_to_do():
    texts = [words.object for words in busy_page().main[0]]
    assert texts[0] == "The explorer is busy"
    assert "load this page again" in texts[1]


def test_login_page__shows_markup_as_text():
    from panel.io.resources import _env

    template = _env.from_string(dashboard_script().with_name("login.html").read_text())
    login = template.render(login_endpoint="/login", errormessage="<script>alert(1)</script>", PANEL_CDN="https://cdn")
    assert "&lt;script&gt;" in login
    assert "https" not in login
    assert 'action="./login"' in login
    logout = template.render(PANEL_CDN="https://cdn", LOGIN_ENDPOINT="/login")
    assert 'href="./login"' in logout
    assert "<form" not in logout
    failed = template.render(error="access <denied>", error_msg="", npm_cdn="https://cdn")
    assert "access &lt;denied&gt;" in failed
    assert "https" not in login + logout + failed


def test_environment__of_the_process_is_left_alone(tmp_path):
    before = dict(os.environ)
    Serving(tmp_path).environment(os.environ)
    assert dict(os.environ) == before
