"""Lock files say names, versions and hashes; where packages come from is for whoever installs to say."""

from __future__ import annotations

import os
from pathlib import Path

import orjson
import pytest

from tools import bootstrap
from tools.bootstrap import NPM_LOCKS, ROOT, strip_npm_lock

_ELSEWHERE = {"node_modules", ".venv", ".git"}


def locks() -> list[Path]:
    found: list[Path] = []
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in _ELSEWHERE]
        found += [Path(folder) / name for name in files if name == "package-lock.json" or name.endswith(".lock")]
    return found


def test_no_lock_names_an_address() -> None:
    found = locks()
    assert set(NPM_LOCKS) == {path for path in found if path.name == "package-lock.json"}
    assert {ROOT / name for name in bootstrap.LOCKS.values()} < set(found)
    for path in found:
        assert "://" not in path.read_text(), f"{path} names an address: make lock"


@pytest.mark.parametrize("path", NPM_LOCKS, ids=lambda path: path.parent.name)
def test_npm_locks_are_as_the_tool_leaves_them_and_have_a_hash_for_every_package(path: Path, tmp_path: Path) -> None:
    before, copy = path.read_bytes(), tmp_path / path.name
    copy.write_bytes(before)
    strip_npm_lock(copy)
    assert copy.read_bytes() == before
    for name, package in orjson.loads(before)["packages"].items():
        assert not name or "integrity" in package, name


def test_addresses_are_taken_out_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    lock, package = tmp_path / "package-lock.json", {"version": "1.0.0", "integrity": "sha512-x", "license": "MIT"}
    addresses = {"resolved": "https://registry.invalid/a", "funding": {"url": "https://money.invalid"}}
    lock.write_bytes(orjson.dumps({"lockfileVersion": 3, "packages": {"": {}, "node_modules/a": package | addresses}}))
    strip_npm_lock(lock)
    assert orjson.loads(lock.read_bytes()) == {"lockfileVersion": 3, "packages": {"": {}, "node_modules/a": package}}
    assert lock.read_text().endswith("}\n")
    elsewhere = package | {"version": "git+https://code.invalid/a"}
    lock.write_bytes(orjson.dumps({"packages": {"node_modules/a": elsewhere}}))
    with pytest.raises(SystemExit, match="names a host"):
        strip_npm_lock(lock)
