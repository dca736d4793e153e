"""What the Makefile does: the virtual environment, the checks and the commands inside it.

Runs on any Python of the machine, before anything is installed, so it uses the standard library only.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
OLDEST = (3, 11)
LOCKS = {"run": "requirements.lock", "dev": "requirements-dev.lock"}
NPM_FOLDERS = ("bench/peers/node", "examples/typescript", "tests/node", "tools/graphiql")
NPM_LOCKS = tuple(ROOT / folder / "package-lock.json" for folder in NPM_FOLDERS)
LINT: dict[str, tuple[str, ...]] = {
    "ruff check": ("-m", "ruff", "check"),
    "ruff format": ("-m", "ruff", "format", "--check"),
    "pyright": ("-m", "tests.node", "tests/node/node_modules/pyright/index.js"),
    "lint-imports": (str(VENV / "bin" / "lint-imports"),),
}
# A file's tests stay together: they share a database or a running program. Each process has engines of its own.
PARALLEL = ("--numprocesses=logical", "--maxprocesses=4", "--dist=loadfile", "--durations=15")
TEST = {
    **LINT,
    "schema drift": ("-m", "cli", "schema", "--check"),
    "breaking changes of the schema": ("-m", "cli", "schema-changes"),
    "registered operations": ("-m", "cli", "operations", "check"),
    "configuration page": ("-m", "cli", "config-docs", "--check"),
    "error page": ("-m", "cli", "error-docs", "--check"),
    "feeds in docs": ("-m", "cli", "feed-docs", "--check"),
    "pytest": ("-m", "pytest", *PARALLEL),
    "pytest of the API without the compiler": (
        *("-m", "pytest", *PARALLEL, "--compiler=off", "tests/api"),
        *("--ignore=tests/api/test_schemathesis.py", "--ignore=tests/api/test_feeds_random.py"),
    ),
}


def say(text: str) -> None:
    """A line about what happens, apart from what the programs print."""
    print(f"==> {text}", file=sys.stderr, flush=True)


def require_python() -> None:
    """Say plainly what the machine lacks."""
    if sys.version_info < OLDEST:
        sys.exit(f"Python 3.11 or newer is needed; {sys.executable} is {sys.version.split()[0]}")
    try:
        import ensurepip
        import venv
    except ImportError as error:
        sys.exit(f"{sys.executable} lacks its module {error.name}; on Debian and Ubuntu: apt install python3-venv")
    del ensurepip, venv


def install(kind: str) -> None:
    """Make .venv hold what the lock says; does nothing, least of all on the network, when it does already."""
    lock = ROOT / LOCKS[kind]
    stamp = VENV / f".installed-{kind}"
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    works = PYTHON.exists() and subprocess.run([PYTHON, "-c", ""], check=False).returncode == 0
    if works and stamp.exists() and stamp.read_text() == wanted:
        return
    if not works:
        require_python()
        say(f"making .venv with Python {sys.version.split()[0]}")
        subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
    say(f"installing {lock.name}")
    pip = [PYTHON, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--require-hashes"]
    if subprocess.run([*pip, "-r", lock], check=False).returncode:
        sys.exit(f"pip could not install {lock.name}; what it said is above")
    stamp.write_text(wanted)
    if kind == "dev":  # holds all of the other one, in the same versions
        (VENV / ".installed-run").write_text(hashlib.sha256((ROOT / LOCKS["run"]).read_bytes()).hexdigest())


def python(*arguments: str) -> int:
    """Run the environment's Python in the repository."""
    return subprocess.run([PYTHON, *arguments], cwd=ROOT, check=False).returncode


def checks(steps: dict[str, tuple[str, ...]]) -> int:
    """Run every step even when one fails, so that one run tells everything."""
    install("dev")
    if python("-m", "tests.node", "install"):
        return 1
    failed: list[str] = []
    for name, arguments in steps.items():
        say(name)
        if python(*arguments):
            failed.append(name)
    if failed:
        say(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def compile_locks(upgrade: bool) -> int:
    """Write both locks, and strip npm's. They name no host, so they serve behind any mirror."""
    install_uv = [PYTHON, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "uv"]
    if not PYTHON.exists():
        require_python()
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
    uv = shutil.which("uv", path=os.pathsep.join([str(PYTHON.parent), os.environ.get("PATH", "")]))
    if uv is None:
        subprocess.run(install_uv, check=True)
        uv = str(PYTHON.parent / "uv")
    command = [uv, "pip", "compile", "pyproject.toml", "--quiet", "--universal", "--python-version", "3.11"]
    command += ["--generate-hashes", "--no-emit-index-url", "--no-emit-find-links", "--no-annotate"]
    command += ["--custom-compile-command", "make lock", "--extra", "embedded"]
    run = ["-o", LOCKS["run"]]
    dev = ["--extra", "dev", "-c", LOCKS["run"], "-o", LOCKS["dev"]]
    for options in (run, dev):
        subprocess.run([*command, *(["--upgrade"] if upgrade else []), *options], cwd=ROOT, check=True)
        if "://" in (ROOT / options[-1]).read_text():
            sys.exit(f"{options[-1]} names a host")
    for lock in NPM_LOCKS:
        strip_npm_lock(lock)
    return 0


def strip_npm_lock(path: Path) -> None:
    """Take addresses out of a lock that npm wrote: where packages came from, and who asks for money for them.

    What is installed is said by names, versions and hashes; ``npm ci`` needs no more.
    """
    lock = json.loads(path.read_text())
    for package in lock["packages"].values():
        package.pop("resolved", None)
        package.pop("funding", None)
    text = json.dumps(lock, indent=2, ensure_ascii=False) + "\n"
    if "://" in text:
        sys.exit(f"{path.relative_to(ROOT)} names a host")
    if text != path.read_text():
        path.write_text(text)


def clean() -> int:
    """Remove what can be made again. The data folder stays."""
    patterns = (".*_cache", ".hypothesis", "*/__pycache__", "*/*/__pycache__", "tests/node/node_modules")
    apart = ("bench/peers/.venv", "bench/peers/node/node_modules", "examples/python-typed/.venv")
    apart += ("examples/typescript/node_modules", "examples/typescript/dist")
    for pattern in (*patterns, ".venv", *apart):
        for path in ROOT.glob(pattern):
            shutil.rmtree(path, ignore_errors=True)
    return 0


def main(arguments: list[str]) -> int:
    """run, serve, test, lint, lock, clean; or: in run|dev, and the arguments for the environment's Python."""
    command, *rest = arguments or [""]
    if command in ("run", "serve"):
        install("run")
        os.chdir(ROOT)
        os.execv(PYTHON, [str(PYTHON), "-m", "cli", command, *rest])
    if command == "in" and rest[:1] in (["run"], ["dev"]):
        install(rest[0])
        return python(*rest[1:])
    if command in ("test", "lint"):
        return checks(TEST if command == "test" else LINT)
    if command == "lock":
        return compile_locks("--upgrade" in rest)
    if command == "clean":
        return clean()
    sys.exit(main.__doc__)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
