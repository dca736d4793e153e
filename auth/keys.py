"""The installation's secrets: ES256 keys that sign access tokens, and one secret that others are derived from.

They live in one JSON file (mode 0600), made on the first start. Several keys may be in it: the newest signs, all of
them verify, so that a rotation logs nobody out. Processes that share the file notice a key added by another one.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, cast

import orjson
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jose import jwk  # pyright: ignore[reportMissingTypeStubs]

from core import logs
from core.clock import wall_now
from core.settings import Settings

ALGORITHM: Final = "ES256"

log = logs.get(__name__)


def _jose_key(pem: bytes) -> Any:
    construct = cast(Any, jwk.construct)  # pyright: ignore[reportUnknownMemberType]
    return construct(pem.decode(), ALGORITHM)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One P-256 key pair; ``kid`` is derived from the public key."""

    kid: str
    created_at: datetime
    pem: bytes
    """Private key, PKCS #8."""
    private: Any
    """The same as python-jose wants it; handing it text instead would parse the text at every token."""
    public: Any

    @classmethod
    def from_pem(cls, pem: bytes, created_at: datetime) -> SigningKey:
        """Raises ValueError when ``pem`` is not a P-256 private key."""
        key = serialization.load_pem_private_key(pem, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ValueError("a signing key must be a P-256 private key")
        public = key.public_key()
        der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        public_pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        kid = base64.urlsafe_b64encode(hashlib.sha256(der).digest()[:12]).decode()
        return cls(kid, created_at, pem, _jose_key(pem), _jose_key(public_pem))

    @classmethod
    def generate(cls) -> SigningKey:
        pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return cls.from_pem(pem, wall_now())


class SigningKeys:
    """The keys of one installation."""

    def __init__(self, keys: Sequence[SigningKey], secret: bytes, path: Path | None = None) -> None:
        self._secret = secret
        self._path = path
        self._read_at = _changed_at(path)
        self._take(keys)

    def _take(self, keys: Sequence[SigningKey]) -> None:
        if not keys:
            raise ValueError("no signing key")
        self._by_kid = {key.kid: key for key in keys}
        self.newest = max(keys, key=lambda key: key.created_at)

    @classmethod
    def generate(cls) -> SigningKeys:
        """Keys that live in memory only, for tests."""
        return cls([SigningKey.generate()], secrets.token_bytes(32))

    @classmethod
    def open(cls, path: Path) -> SigningKeys:
        """The keys in the file at ``path``, which is made when there is none. Raises ValueError when it is damaged."""
        if not path.exists():
            _create(path, _dump([SigningKey.generate()], secrets.token_bytes(32)))
        if os.name == "posix" and path.stat().st_mode & 0o077:
            log.warning("keys.readable_by_others", path=str(path))
        keys, secret = _load(path)
        return cls(keys, secret, path)

    @classmethod
    def of(cls, settings: Settings) -> SigningKeys:
        """The keys that ``settings`` name."""
        return cls.open(settings.jwt_keys_file or settings.data_dir / "keys.json")

    def find(self, kid: str) -> SigningKey | None:
        """The key that signed a token; reads the file again when it changed and holds an unknown key."""
        found = self._by_kid.get(kid)
        if found is None and self._path is not None and (changed := _changed_at(self._path)) != self._read_at:
            self._read_at = changed
            try:
                self._take(_load(self._path)[0])
            except (OSError, ValueError) as error:
                log.warning("keys.not_read_again", path=str(self._path), error=repr(error))  # those known still count
            found = self._by_kid.get(kid)
        return found

    def rotate(self) -> SigningKey:
        """Add a key, which signs from now on, to the file. Other processes learn of it by the first token they see."""
        if self._path is None:
            keys = [*self._by_kid.values(), SigningKey.generate()]
        else:
            keys = [*_load(self._path)[0], SigningKey.generate()]
            temporary = _write_beside(self._path, _dump(keys, self._secret))
            temporary.replace(self._path)
            self._read_at = _changed_at(self._path)
        self._take(keys)
        return self.newest

    def derive(self, purpose: str) -> bytes:
        """A 32-byte secret for one purpose, the same in all processes and after a restart."""
        return hmac.digest(self._secret, purpose.encode(), "sha256")


def _changed_at(path: Path | None) -> int:
    try:
        return path.stat().st_mtime_ns if path is not None else 0
    except FileNotFoundError:
        return 0


def _dump(keys: Sequence[SigningKey], secret: bytes) -> bytes:
    entries = [{"kid": k.kid, "created_at": k.created_at, "private_key": k.pem.decode()} for k in keys]
    return orjson.dumps({"keys": entries, "secret": secret.hex()}, option=orjson.OPT_INDENT_2)


def _load(path: Path) -> tuple[list[SigningKey], bytes]:
    try:
        content = orjson.loads(path.read_bytes())
        keys = [
            SigningKey.from_pem(entry["private_key"].encode(), datetime.fromisoformat(entry["created_at"]))
            for entry in content["keys"]
        ]
        secret = bytes.fromhex(content["secret"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} is not a keys file: {error}") from error
    if len(secret) < 32:
        raise ValueError(f"{path}: the secret must have at least 32 bytes")
    return keys, secret


def _write_beside(path: Path, content: bytes) -> Path:
    """A new private file with ``content`` in the folder of ``path``, on disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return temporary


def _create(path: Path, content: bytes) -> None:
    """Make the file whole or not at all; when another process was faster, its file stays."""
    temporary = _write_beside(path, content)
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
