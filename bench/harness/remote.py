"""A worker process, as the coordinator sees it."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile

from bench.harness.machine import ROOT

#: A worker that died or hung so often is not started again.
LIVES = 3


class Failed(Exception):
    """A worker cannot do what it was asked; the message says why."""


class Remote:
    """A contestant in a process of its own."""

    def __init__(self, name: str, threads: int, environment: dict[str, str]):
        self.name, self.threads, self.environment = name, threads, environment
        self.process: subprocess.Popen | None = None
        self.lives, self.reason = LIVES, ""

    def _start(self) -> subprocess.Popen:
        self.log = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115 (lives as long as the process)
        command = (sys.executable, "-m", "bench.harness.worker", self.name, str(self.threads))
        return subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **self.environment}, text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
        )  # fmt: skip

    def ask(self, do: str, timeout: float = 120, **request: object) -> dict:
        """The worker's answer, from a new process where there is none. Raises Failed."""
        if not self.lives:
            raise Failed(f"given up after {LIVES} times: {self.reason}")
        if self.process is None:
            self.process = self._start()
        try:
            self.process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            ready, _, _ = select.select([self.process.stdout], [], [], timeout)
            line = self.process.stdout.readline() if ready else None
        except BrokenPipeError:
            line = ""
        if not line:
            self.reason = f"no answer in {timeout:.0f} s" if line is None else self._last_words()
            self.lives -= 1
            self.stop()
            raise Failed(self.reason)
        answer = json.loads(line)
        if "failed" in answer:
            raise Failed(answer["failed"])
        return answer

    def _last_words(self) -> str:
        status = self.process.wait()
        self.log.seek(0)
        lines = self.log.read().strip().splitlines()
        return f"the process ended with status {status}: {lines[-1][:200] if lines else 'no message'}"

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None
