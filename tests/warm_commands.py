"""`aecodec` and `python` that are there at once: each call is a fork of one process that has imported torch already.

The pages hold more than a hundred commands, and importing torch takes longer than most of them do.
"""

from __future__ import annotations

import atexit
import json
import os
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

#: What is imported before the first call. Nothing that starts a thread, for forks have none.
IMPORTED = (
    "torch._dynamo",
    "aecodec.bench.runs",
    "aecodec.codec.files",
    "aecodec.search.building",
    "aecodec.search.updating",
    "aecodec.tasks.restore",
    "aecodec.train.loop",
)
#: A program that hands its arguments, folder, environment and standard streams over, and takes the exit code.
CLIENT = """#!{python} -IS
import json, os, socket, sys
request = json.dumps([{name!r}, sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [len(request).to_bytes(4, "big")], [0, 1, 2])
    server.sendall(request)
    answer = server.recv(1)
sys.exit(answer[0] if answer else 1)
"""


@dataclass(frozen=True)
class WarmCommands:
    """The process that answers. address: of its socket."""

    address: str

    def install(self, folder: Path) -> None:
        """Programs `aecodec` and `python`, which knows ``python -c CODE`` alone, and an `activate` that finds them."""
        folder.mkdir(parents=True)
        for name in ("aecodec", "python"):
            program = folder / name
            program.write_text(CLIENT.format(python=sys.executable, name=name, address=self.address))
            program.chmod(0o755)
        (folder / "activate").write_text(f'PATH="{folder}:$PATH"\n')


@contextmanager
def warm_commands() -> Iterator[WarmCommands]:
    """A process that answers until the block is left."""
    with tempfile.TemporaryDirectory(prefix="aec") as folder:
        address = f"{folder}/socket"
        # On small pictures a pool of threads only waits, the more so where the tests share the cores.
        environment = {"OMP_NUM_THREADS": "1", **os.environ}
        command = [sys.executable, __file__, address]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline(), "the process that answers commands has not started"
                yield WarmCommands(address)
            finally:
                process.kill()


def serve(address: str) -> socket.socket:
    """Answer calls for ever. Returns in a fork only: the connection to a caller, whose call it is to carry out."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        print("listening", flush=True)
        while True:
            connection, _ = listener.accept()
            if not os.fork():
                return connection
            connection.close()
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass


def receive(connection: socket.socket) -> tuple[str, list[str]]:
    """A call, its folder, environment and standard streams taken over -> program and arguments."""
    head, streams, _, _ = socket.recv_fds(connection, 4, 3)
    length, parts = int.from_bytes(head, "big"), b""
    while len(parts) < length:
        parts += connection.recv(length - len(parts))
    name, arguments, folder, environment = json.loads(parts)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    return name, arguments


def carry_out(name: str, arguments: list[str]) -> int:
    """Be the program -> its exit code."""
    if name == "aecodec":
        from aecodec.cli import run

        sys.argv = [name, *arguments]
        return run(arguments)
    option, code = arguments
    assert option == "-c", arguments
    sys.argv, sys.path[0] = [option], ""
    exec(compile(code, "<block>", "exec"), {"__name__": "__main__"})
    return 0


def answer(connection: socket.socket) -> None:
    """Carry a call out and tell its exit code, without taking modules apart, which would copy all of their memory."""
    code = 1
    try:
        code = carry_out(*receive(connection))
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    connection.sendall(bytes([code]))
    os._exit(code)


if __name__ == "__main__":
    for module in IMPORTED:
        import_module(module)
    answer(serve(sys.argv[1]))
