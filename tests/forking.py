"""Fork processes from one with all imports done, because importing takes longer than the processes' tasks."""

import gc
import json
import os
import sys
import traceback
from collections.abc import Callable

from tests.answering import Answering


class Forking(Answering):
    """The client of a process that calls `serve`."""

    def start(self, **request: object) -> list[int]:
        """Fork a process for each of ``variables``, or one without any; return process ids. They write to ``log``."""
        return json.loads(self.ask(json.dumps(request)))

    def end(self) -> list[int]:
        """Wait for them to end; return their exit statuses, negative for a signal."""
        return json.loads(self.ask(""))


def serve(run: Callable[[dict], None]) -> None:
    """Answer requests, one per line: fork processes with their own variables, and report their exit statuses."""
    gc.freeze()
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        children = []
        for variables in request.get("variables", [{}]):
            children.append(os.fork())
            if not children[-1]:
                os.environ.update(variables)
                try:
                    os.dup2(os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND), sys.stderr.fileno())
                    run(request)
                except BaseException:
                    traceback.print_exc()
                    os._exit(1)
                os._exit(0)  # an interpreter with all of torch loaded takes a second to shut down
        print(json.dumps(children), flush=True)
        sys.stdin.readline()  # until the client asks for their end, so that their process ids are not reused
        print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]), flush=True)
