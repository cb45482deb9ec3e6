"""Processes that are forked from one which has imported what they need, since that takes longer than what they do."""

import gc
import json
import os
import sys
import traceback
from collections.abc import Callable

from tests.answering import Answering


class Forking(Answering):
    """Asks a process that calls `serve`."""

    def start(self, **request: object) -> list[int]:
        """Fork a process for each of ``variables``, one without any; return their numbers. They write to ``log``."""
        return json.loads(self.ask(json.dumps(request)))

    def end(self) -> list[int]:
        """Wait for them to end and return their exit statuses, negative for a signal."""
        return json.loads(self.ask(""))


def serve(run: Callable[[dict], None]) -> None:
    """Answer requests, one a line: fork processes that run each with their own variables, and say how they ended."""
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
                os._exit(0)  # an interpreter with all of torch in it takes a second to fold up
        print(json.dumps(children), flush=True)
        sys.stdin.readline()  # until their end is asked for, their numbers are no other processes'
        print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]), flush=True)
