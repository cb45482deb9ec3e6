"""Scripts run in processes with loaded libraries behave as in Python, and end with the process that started them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from tests.conftest import REPOSITORY

WARM = REPOSITORY / "workflow/warm.py"
LIBRARY = "wave"  # in place of libraries that are slow to load; Python itself never loads it


class Server(NamedTuple):
    process: subprocess.Popen[str]
    address: str

    def command(self, script: Path, *arguments: str) -> list[str]:
        return [sys.executable, "-IS", str(WARM), "run", self.address, str(script), *arguments]

    def end(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        assert self.process.wait(60) == 0


@contextmanager
def serving(*libraries: str, **environment: str) -> Iterator[Server]:
    command, pipes = (
        [sys.executable, str(WARM), "serve", *libraries],
        dict.fromkeys(("stdin", "stdout"), subprocess.PIPE),
    )
    with subprocess.Popen(command, env={**os.environ, **environment}, text=True, **pipes) as process:
        assert process.stdout
        yield Server(process, process.stdout.readline().strip())
        process.kill()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving("no_such_library", LIBRARY) as server:
        yield server


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "folder of scripts" / "script.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text("import os, sys, time\n" + text)
        return path

    return write


def ended(*processes: psutil.Process) -> bool:
    return not psutil.wait_procs(processes, timeout=30)[1]


def wait_for(path: Path) -> str:
    """Wait until a file has content, and return it."""
    for _ in range(3000):
        if path.exists() and path.read_text():
            return path.read_text()
        time.sleep(0.01)
    raise AssertionError(f"nothing was written to {path}")


TELLS = """
import neighbour
print(sys.argv, __name__, __file__, sys.path[0], os.getcwd(), os.environ["A"], "B" in os.environ, sys.stdin.read())
print("to standard error", file=sys.stderr)
sys.exit(neighbour.code)
"""


def test_a_script_finds_what_it_finds_in_python(server, script, tmp_path):
    path = script(TELLS)
    path.with_name("neighbour.py").write_text("code = 7\n")
    environment = {"A": "ä\udcff " + "long " * 20000, "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    for arguments in ([], ["one", "two words", ""]):
        results = [
            subprocess.run(command, env=environment, cwd=tmp_path, input=b"in", capture_output=True)
            for command in ([sys.executable, str(path), *arguments], server.command(path, *arguments))
        ]
        assert results[0].returncode == results[1].returncode == 7
        assert results[0].stdout == results[1].stdout != b""
        assert results[0].stderr == results[1].stderr == b"to standard error\n"


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("pass", 0, ""),
        ("sys.exit('a sentence')", 1, "a sentence"),
        ("raise ValueError('what was wrong')", 1, "ValueError: what was wrong"),
        ("os.kill(os.getpid(), 9)", 137, ""),
        ("os.kill(os.getpid(), 11)", 139, ""),
    ],
)
def test_it_ends_as_the_script_does(server, script, text, code, says):
    done = subprocess.run(server.command(script(text)), capture_output=True, text=True)
    assert done.returncode == code
    assert says in done.stderr


def test_libraries_are_loaded_and_each_script_has_a_process_of_its_own(server, script):
    def run(text: str) -> str:
        return subprocess.run(server.command(script(text)), capture_output=True, text=True, check=True).stdout

    assert run(f"print({LIBRARY!r} in sys.modules)") == "True\n"
    assert run(f"sys.modules.pop({LIBRARY!r}); print('gone')") == "gone\n"
    assert run(f"print({LIBRARY!r} in sys.modules, 'edited')") == "True edited\n"


def test_what_a_script_leaves_for_its_end_is_done(server, script, tmp_path):
    path = script(
        "import atexit, threading\n"
        "atexit.register(print, 'at exit', end='')\n"
        "threading.Thread(target=lambda: (time.sleep(0.2), print('thread'))).start()"
    )
    done = subprocess.run(server.command(path), capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "thread\nat exit", "")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_script_and_its_children_end_with_the_caller(server, script, tmp_path, number):
    lasts = "end = time.time() + 60\nwhile time.time() < end: pass"
    path = script("os.fork()\nopen(sys.argv[1], 'a').write(f'{os.getpid()} ')\n" + lasts)
    command = server.command(path, str(tmp_path / "who"))
    # shells make background processes ignore interrupts
    as_ever = partial(signal.signal, number, signal.SIG_DFL) if number != signal.SIGKILL else None
    caller = subprocess.Popen(command, stderr=subprocess.DEVNULL, preexec_fn=as_ever)
    while len(pids := wait_for(tmp_path / "who").split()) < 2:
        time.sleep(0.01)
    scripts = [psutil.Process(int(pid)) for pid in pids]
    caller.send_signal(number)
    assert ended(*scripts)
    assert caller.wait(30) != 0
    assert server.process.poll() is None


def test_the_server_ends_with_its_standard_input_and_what_runs_goes_on(server, script, tmp_path):
    path = script("open(sys.argv[1], 'w').write('began')\ntime.sleep(0.5)\nsys.exit(5)")
    caller = subprocess.Popen(server.command(path, str(tmp_path / "who")))
    wait_for(tmp_path / "who")
    server.end()
    assert caller.wait(30) == 5


def test_without_a_server_it_is_python_and_says_so(server, script):
    path = script("print('ran', sys.argv[1])\nsys.exit(5)")
    server.process.kill()
    server.process.wait()
    done = subprocess.run(server.command(path, "alone"), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (5, "ran alone\n")
    assert done.stderr == f"{server.address}: Connection refused, so a Python of its own runs {path}\n"


def test_a_folder_too_long_for_a_socket_is_named(tmp_path):
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    command, environment = [sys.executable, str(WARM), "serve"], {**os.environ, "TMPDIR": str(folder)}
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(str(folder))
    assert done.stderr.endswith("every job starts a Python of its own; set TMPDIR to a short path\n")
    assert not list(folder.iterdir())
