"""Installs what the examples in folders of their own need, each as its lock says."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import node
from tests.patience import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
PYTHON_TYPED = EXAMPLES / "python-typed"
TYPESCRIPT = EXAMPLES / "typescript"


@contextmanager
def once(lock: Path, stamp: Path) -> Iterator[bool]:
    """Whether what ``lock`` says is still to be installed; it is noted in ``stamp`` when that went well."""
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    missing = not stamp.exists() or stamp.read_text() != wanted
    yield missing
    if missing:
        stamp.write_text(wanted)


def python_typed() -> Path:
    """Python of the typed client's environment."""
    folder = PYTHON_TYPED / ".venv"
    python, lock = folder / "bin" / "python", PYTHON_TYPED / "requirements.lock"
    with once(lock, folder / ".installed") as missing:
        if missing:
            subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder)], check=True)
            pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
            subprocess.run([*pip, "install", "--quiet", "--require-hashes", "-r", str(lock)], check=True)
    return python


def typescript() -> Path:
    """The modules of the TypeScript example."""
    modules = TYPESCRIPT / "node_modules"
    with once(TYPESCRIPT / "package-lock.json", modules / ".installed") as missing:
        if missing:
            subprocess.run(node.npm_ci_command(), cwd=TYPESCRIPT, env=node.environment(), check=True)
    return modules


async def run(*command: str | Path, cwd: Path = ROOT, patience: float = 5 * PATIENCE, **environment: str) -> str:
    """What a program prints that ends well."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        cwd=cwd, env=os.environ | node.environment() | environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    late = asyncio.get_running_loop().call_later(patience, process.kill)
    try:
        out, err = await process.communicate()
    finally:
        late.cancel()
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, out.decode() + err.decode()
    return out.decode()


def same(generated: Path, committed: Path) -> None:
    """Fails unless both folders hold the same files."""

    def read(folder: Path) -> dict[str, str]:
        files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        return {str(path.relative_to(folder)): path.read_text() for path in files}

    assert read(generated) == read(committed), f"{committed} is not what is generated: see the README beside it"
