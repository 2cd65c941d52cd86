"""The holdfast binary as a child process, for the scripts that drive it with other programs."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading

START_SECONDS = 30
STOP_SECONDS = 30


def stop_children_when_terminated():
    """Turns SIGTERM into an exception, so that `with` blocks end what they started."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


class Server:
    """A running server; leaving the `with` block stops exactly that process."""

    def __init__(self, binary, directory, engine="auto", reactors="2", portals=1, profile="efficiency",
                 config=""):
        self.binary = binary
        self.control = os.path.join(directory, "control")
        self.errors_path = os.path.join(directory, "stderr")
        self.portal_count = portals
        self.portals = []
        command = [binary, "serve", "--data", os.path.join(directory, "data"),
                   "--control", self.control, "--engine", engine, "--reactors", str(reactors),
                   "--profile", profile]
        if config:
            path = os.path.join(directory, "holdfast.toml")
            with open(path, "w", encoding="utf-8") as file:
                file.write(config)
            command += ["--config", path]
        for _ in range(portals):
            command += ["--listen", "127.0.0.1:0"]
        self.errors = open(self.errors_path, "wb")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=self.errors)

    def __enter__(self):
        lines = queue.Queue()

        def read():
            for line in self.process.stdout:
                lines.put(line.decode(errors="replace"))
            lines.put(None)

        threading.Thread(target=read, daemon=True).start()
        while len(self.portals) < self.portal_count:
            try:
                line = lines.get(timeout=START_SECONDS)
            except queue.Empty:
                line = None
            if line is None:
                self.stop()
                raise SystemExit(f"the server does not come up:\n{self.log()}")
            if line.startswith("listening on "):
                self.portals.append(line.removeprefix("listening on ").strip())
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """SIGTERM; SIGKILL if that does not end it. Returns the exit code."""
        self.process.terminate()
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self.errors.close()
        return code

    def log(self):
        with open(self.errors_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def command(self, *arguments):
        """Standard output of a subcommand."""
        done = subprocess.run([self.binary, *arguments, "--control", self.control],
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"holdfast {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def create_volume(self, name, size, backend, *options):
        """Makes a volume; what `volume show --json` says of it."""
        self.command("volume", "create", name, "--size", size, "--backend", backend, *options)
        return json.loads(self.command("volume", "show", name, "--json"))

    def url(self, volume, portal=0):
        """The volume's LUN 0 as libiscsi and QEMU name it."""
        return f"iscsi://{self.portals[portal]}/{volume['iqn']}/0"
