"""Fork jobs that take little longer than to load their libraries from a Python that has loaded them.

    python warm.py serve MODULE...
    python -IS warm.py run ADDRESS SCRIPT ARGUMENT...

Loading torch and numba takes two to three seconds, as long as many of the default's trainings, and ten times as long as
most of its evaluations. ``serve`` loads the modules at its first request and forks a process for each; it ends when its
standard input does, so with the Snakemake that started it. ``run`` is ``python SCRIPT ARGUMENT...`` in such a process:
with the files, environment, working directory and exit status of the caller, and no longer than it: when the caller is
killed, the kernel sends the signal that ends script and all. Scripts are read anew each time. So are all modules from
folders of PYTHONPATH once a file of one was edited. Without a server, ``run`` is Python itself, and says so.

A script that succeeded ends as in Python, but that its objects are not freed one by one: this would copy the memory
that all forks share, a fifth of a second's work. A file that it leaves open is not flushed.

The address is a name in Linux' abstract namespace: no file that a kill leaves behind, that somebody may remove, or that
has too long a path. Such names have no owner, so either end asks the kernel whose process the other is.

Linux only. Limits that the calling shell has set (``ulimit``, ``taskset``) are not handed on; those of Snakemake are.
"""

import atexit
import contextlib
import errno
import fcntl
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

Loaded = dict[str, tuple[str, tuple[int, ...] | None]]
"""Modules that may be edited: file, and what it was when it was loaded, by name."""
TICK = 0.1
"""Seconds by which the times of files may lie behind the clock."""


def run(address: str, arguments: list[str]) -> NoReturn:
    """Have the server at ``address`` run a script with arguments, and end as it does."""
    server = socket.socket(socket.AF_UNIX)
    request = {"arguments": arguments, "environment": dict(os.environ), "folder": str(Path.cwd())}
    try:
        server.connect(_name(address))
        if not _is_mine(server):
            raise PermissionError(errno.EPERM, "somebody else's process answers")
        socket.send_fds(server, [b"\n"], [0, 1, 2])
        with server.makefile("w") as file:
            file.write(json.dumps(request) + "\n")
    except OSError as error:  # the script has not begun: it does once all of the request is there
        print(
            f"{address}: {error.strerror or error}, so a Python of its own runs {arguments[0]}",
            file=sys.stderr,
            flush=True,
        )
        os.execv(sys.executable, [sys.executable, *arguments])
    code = b""
    with contextlib.suppress(ConnectionResetError):
        code = server.recv(1)
    if not code:
        sys.exit(f"{arguments[0]}: its process was lost")
    os._exit(code[0])


def serve(modules: list[str]) -> str | None:
    """Print an address and answer there until standard input ends; in a process for a script, return which."""
    address = f"@sdlcore-{os.urandom(8).hex()}"
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(_name(address))
        listener.listen(128)
    except OSError as error:
        sys.exit(f"{address}: {error.strerror or error}, so every job starts a Python of its own")
    print(address, flush=True)
    loaded: Loaded = {}
    since = 0.0
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait for scripts
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            return None
        caller, _ = listener.accept()
        if not _is_mine(caller):
            caller.close()
            continue
        if modules:
            since = time.time()
            loaded = _load(modules)
            modules = []
        if os.fork() == 0:
            listener.close()
            script = _answer(caller)
            _forget_edited(loaded, since)
            return script
        caller.close()


def _name(address: str) -> str:
    """Return an abstract socket's name as the system takes it."""
    return "\0" + address.removeprefix("@")


def _is_mine(other: socket.socket) -> bool:
    """Tell whether the process at the other end runs as the same user."""
    _, user, _ = struct.unpack("3i", other.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return bool(user == os.geteuid())


def _load(modules: list[str]) -> Loaded:
    """Import modules, and keep what they are made of out of the way of garbage collectors, those of forks included.

    Return the modules that come from folders of PYTHONPATH.
    """
    for module in modules:
        with contextlib.suppress(ImportError, OSError):  # a script that needs it says so
            importlib.import_module(module)
    if "numba" in modules and (numba := sys.modules.get("numba")):
        numba.njit(lambda: None)()  # it has a fifth of a second's work with whatever it compiles or loads first
    if digest := sys.modules.get("sdlcore.storage.digest"):
        for module in [module for module in modules if module.startswith("sdlcore.") and module in sys.modules]:
            digest.source_digest(
                Path(str(sys.modules[module].__file__)), digest.HOME
            )  # it remembers all that it parsed
    gc.freeze()
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    folders = tuple(f"{Path(folder).absolute()}{os.sep}" for folder in given if folder)
    files = {name: getattr(module, "__file__", None) or "" for name, module in sys.modules.items()}
    return {name: (file, _stamp(file)) for name, file in files.items() if file.startswith(folders)}


def _stamp(file: str) -> tuple[int, ...] | None:
    """Return what differs once a file was edited or replaced; None if it is gone."""
    try:
        found = Path(file).stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _forget_edited(loaded: Loaded, since: float) -> None:
    """Have all of these modules imported anew if a file of one was edited since then, loading included."""
    for file, stamp in loaded.values():
        now = _stamp(file)
        if now is None or now != stamp or now[-1] >= (since - TICK) * 1e9:
            for name in loaded:
                del sys.modules[name]
            return


def _answer(caller: socket.socket) -> str:
    """Start a process for a script and tell the caller how it ended; in that process, return which script."""
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
    """From now on, the end of the caller is that of this process, the script's and all that it starts, by SIGIO."""
    os.setpgid(0, 0)
    fcntl.fcntl(caller, fcntl.F_SETOWN, -os.getpid())
    fcntl.fcntl(caller, fcntl.F_SETFL, fcntl.fcntl(caller, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([caller], [], [], 0)[0]:  # there is nothing to read but the end
        os._exit(1)


def _end() -> NoReturn:
    """End as Python does after a script that succeeded, without freeing its objects."""
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, but for daemons
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
