"""Start short jobs quickly: fork them from a Python process that has loaded their libraries already.

    python warm.py serve MODULE...
    python -IS warm.py run ADDRESS SCRIPT ARGUMENT...

Loading torch and numba takes two to three seconds, as long as many trainings of the default configuration and ten times
as long as most of its evaluations. ``serve`` loads the modules at its first request, and forks a process for each
request. It ends when its standard input closes, which happens when the Snakemake that started it ends. ``run`` executes
``python SCRIPT ARGUMENT...`` in such a process, with the caller's standard streams, environment and working directory,
and exits with the script's status. If the caller is killed, the kernel sends a signal that ends the script and its
children. Scripts are read again each time, loaded modules are not: all jobs of a run of Snakemake execute the code that
it started with. Without a server, ``run`` starts an ordinary Python and prints a message.

A script that succeeded ends as in Python, except that its objects are not freed one by one. Freeing would copy the
memory that all forks share, which takes a fifth of a second. Files that the script leaves open are not flushed.

The address is a socket in a temporary folder that only this user may enter.

Linux only. Limits that the calling shell has set (``ulimit``, ``taskset``) do not apply; Snakemake's own limits do.
"""

import atexit
import contextlib
import fcntl
import gc
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, NoReturn


def run(address: str, arguments: list[str]) -> NoReturn:
    """Let the server at ``address`` run a script with arguments, and exit with the script's status."""
    server = socket.socket(socket.AF_UNIX)
    request = {"arguments": arguments, "environment": dict(os.environ), "folder": str(Path.cwd())}
    try:
        server.connect(address)
        socket.send_fds(server, [b"\n"], [0, 1, 2])
        with server.makefile("w") as file:
            file.write(json.dumps(request) + "\n")
    except OSError as error:  # the script has not begun, since it starts only after the whole request has arrived
        message = f"{address}: {error.strerror or error}, so a Python of its own runs {arguments[0]}"
        print(message, file=sys.stderr, flush=True)
        os.execv(sys.executable, [sys.executable, *arguments])
    code = b""
    with contextlib.suppress(ConnectionResetError):
        code = server.recv(1)
    if not code:
        sys.exit(f"{arguments[0]}: its process was lost")
    os._exit(code[0])


def serve(modules: list[str]) -> str | None:
    """Print an address and answer requests there until standard input closes.

    Return None then. In a process that was forked for a script, return the path of the script.
    """
    folder = tempfile.mkdtemp(prefix="sdlcore-")
    address = f"{folder}/socket"
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(address)
    except OSError as error:
        shutil.rmtree(folder)
        sys.exit(f"{address}: {error}, so every job starts a Python of its own; set TMPDIR to a short path")
    listener.listen(128)
    print(address, flush=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # let the kernel reap the processes that wait for scripts
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            shutil.rmtree(folder)
            return None
        caller, _ = listener.accept()
        if modules:
            _load(modules)
            modules = []
        if os.fork() == 0:
            listener.close()
            return _answer(caller)
        caller.close()


def _load(modules: list[str]) -> None:
    """Import modules, and exclude their objects from garbage collection, in forks too."""
    for module in modules:
        with contextlib.suppress(ImportError, OSError):  # a script that needs the module reports the error
            importlib.import_module(module)
    if "numba" in modules and (numba := sys.modules.get("numba")):
        numba.njit(lambda: None)()  # the first compilation takes a fifth of a second more than later ones
    if identity := sys.modules.get("sdlcore.identity"):
        identity.provenance()  # caches versions and the digest of the package
    gc.freeze()


def _answer(caller: socket.socket) -> str:
    """Start a process for a script and send its exit status to the caller; in that process, return the script."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, files, _, _ = socket.recv_fds(caller, 1, 3)
    with caller.makefile() as file:
        request: dict[str, Any] = json.loads(file.readline() or "null")
    _end_with(caller)
    child = os.fork()
    if child:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        caller.sendall(bytes([code if code >= 0 else 128 - code]))
        os._exit(0)
    caller.close()
    for number, descriptor in enumerate(files):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = request["arguments"]
    sys.path[0] = str(Path(sys.argv[0]).absolute().parent)
    return sys.argv[0]


def _end_with(caller: socket.socket) -> None:
    """Tie this process group to the caller: when the caller ends, SIGIO ends this process, the script and its
    children."""
    os.setpgid(0, 0)
    fcntl.fcntl(caller, fcntl.F_SETOWN, -os.getpid())
    fcntl.fcntl(caller, fcntl.F_SETFL, fcntl.fcntl(caller, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([caller], [], [], 0)[0]:  # readable only if the caller has ended already, since it sends no more
        os._exit(1)


def _end() -> NoReturn:
    """End as Python does after a script that succeeded, without freeing its objects."""
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads except daemons
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    if sys.argv[1] == "run":
        run(sys.argv[2], sys.argv[3:])
    script = serve(sys.argv[2:])
    if script:
        runpy.run_path(script, run_name="__main__")
        _end()
