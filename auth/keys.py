"""The installation's secrets: ES256 keys that sign access tokens, and one secret that others are derived from.

They live in one JSON file (mode 0600), made on the first start. Several keys may be in it and all of them verify. A
new key signs from an announced instant on, when every process knows it; the one before is retired when its last token
has expired. So a rotation logs nobody out. Processes look at the file every few seconds.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
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
LOOK_EVERY: Final = 5.0
"""Seconds between two looks at the file."""
ANNOUNCED: Final = timedelta(minutes=10)
"""How long before it signs a new key is known, to our processes and to those who keep /.well-known/jwks.json."""

log = logs.get(__name__)


def _jose_key(pem: bytes) -> Any:
    construct = cast(Any, jwk.construct)  # pyright: ignore[reportUnknownMemberType]
    return construct(pem.decode(), ALGORITHM)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One P-256 key pair; ``kid`` is derived from the public key."""

    kid: str
    created_at: datetime
    signs_from: datetime
    pem: bytes
    """Private key, PKCS #8."""
    private: Any
    """The same as python-jose wants it; handing it text instead would parse the text at every token."""
    public: Any

    @classmethod
    def from_pem(cls, pem: bytes, created_at: datetime, signs_from: datetime) -> SigningKey:
        """Raises ValueError when ``pem`` is not a P-256 private key."""
        key = serialization.load_pem_private_key(pem, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ValueError("a signing key must be a P-256 private key")
        public = key.public_key()
        der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        public_pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        kid = base64.urlsafe_b64encode(hashlib.sha256(der).digest()[:12]).decode()
        return cls(kid, created_at, signs_from, pem, _jose_key(pem), _jose_key(public_pem))

    @classmethod
    def generate(cls, signs_after: timedelta = timedelta(0)) -> SigningKey:
        pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        now = wall_now()
        return cls.from_pem(pem, now, now + signs_after)

    @property
    def jwk(self) -> dict[str, str]:
        """The public key as RFC 7517 writes it."""
        found = {name: _text(value) for name, value in self.public.to_dict().items()}
        own = {"kid": self.kid, "use": "sig", "alg": ALGORITHM}
        return {name: found[name] for name in ("kty", "crv", "x", "y")} | own


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


class KeyInUse(Exception):
    """A key cannot be retired yet. ``until``: when its last token has expired; None while it is the one that signs."""

    def __init__(self, kid: str, until: datetime | None) -> None:
        super().__init__(f"the key {kid} signs tokens" if until is None else f"tokens of {kid} live until {until}")
        self.until = until


class SigningKeys:
    """The keys of one installation."""

    def __init__(self, keys: Sequence[SigningKey], secret: bytes, path: Path | None = None) -> None:
        self._secret = secret
        self._path = path
        self._read_at = _changed_at(path)
        self._looked_at = time.monotonic()
        self.revision = 0
        """Grows whenever keys come or go."""
        self._take(keys)

    def _take(self, keys: Sequence[SigningKey]) -> None:
        if not keys:
            raise ValueError("no signing key")
        self._keys = sorted(keys, key=lambda key: (key.signs_from, key.created_at))
        self._by_kid = {key.kid: key for key in keys}
        self.revision += 1

    @property
    def all(self) -> list[SigningKey]:
        """Every key, in the order in which they sign."""
        self.look()
        return list(self._keys)

    @property
    def signing(self) -> SigningKey:
        """The key that signs now."""
        self.look()
        now = wall_now()
        return next((key for key in reversed(self._keys) if key.signs_from <= now), self._keys[0])

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """The public keys as a JSON Web Key Set (RFC 7517, section 5)."""
        return {"keys": [key.jwk for key in self.all]}

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
        """The key that signed a token; one that is not known is looked for in the file."""
        self.look(now=kid not in self._by_kid)
        return self._by_kid.get(kid)

    def look(self, *, now: bool = False) -> None:
        """Take over what another process did to the file, at most every LOOK_EVERY seconds unless ``now``."""
        if self._path is None or not (now or time.monotonic() - self._looked_at >= LOOK_EVERY):
            return
        self._looked_at = time.monotonic()
        changed = _changed_at(self._path)
        if changed == self._read_at:
            return
        self._read_at = changed
        try:
            self._take(_load(self._path)[0])
        except (OSError, ValueError) as error:
            log.warning("keys.not_read_again", path=str(self._path), error=repr(error))  # those known still count

    def rotate(self, announced: timedelta = ANNOUNCED) -> SigningKey:
        """Add a key that signs when it has been ``announced`` for so long."""
        added = SigningKey.generate(announced)
        with self._changing() as keys:
            keys.append(added)
        return self._by_kid[added.kid]

    def retire(self, kid: str, token_life: timedelta, *, compromised: bool = False) -> None:
        """Take a key out when ``token_life`` has passed since it last signed, or that was never to sign;
        a ``compromised`` one at once.

        Raises LookupError, and KeyInUse, also for a compromised key when there is no other one to sign.
        """
        with self._changing() as keys:
            now = wall_now()
            key = next((key for key in keys if key.kid == kid), None)
            if key is None:
                raise LookupError(kid)
            others = [other.signs_from for other in keys if other is not key]
            if not any(signs_from <= now for signs_from in others):
                raise KeyInUse(kid, None)
            if key.signs_from <= now and not compromised:
                relieved = min((at for at in others if at >= key.signs_from), default=None)
                if relieved is None or relieved > now:
                    raise KeyInUse(kid, None)
                if relieved + token_life > now:
                    raise KeyInUse(kid, relieved + token_life)
            keys.remove(key)

    @contextmanager
    def _changing(self) -> Generator[list[SigningKey], None, None]:
        """The keys, to be changed while no other process does."""
        if self._path is None:
            keys = list(self._keys)
            yield keys
        else:
            with _locked(self._path.parent):
                keys = _load(self._path)[0]
                yield keys
                _write_beside(self._path, _dump(keys, self._secret)).replace(self._path)
                self._read_at = _changed_at(self._path)
        self._take(keys)

    def derive(self, purpose: str) -> bytes:
        """A 32-byte secret for one purpose, the same in all processes and after a restart."""
        return hmac.digest(self._secret, purpose.encode(), "sha256")


def _changed_at(path: Path | None) -> int:
    try:
        return path.stat().st_mtime_ns if path is not None else 0
    except FileNotFoundError:
        return 0


def _dump(keys: Sequence[SigningKey], secret: bytes) -> bytes:
    entries = [
        {"kid": k.kid, "created_at": k.created_at, "signs_from": k.signs_from, "private_key": k.pem.decode()}
        for k in keys
    ]
    return orjson.dumps({"keys": entries, "secret": secret.hex()}, option=orjson.OPT_INDENT_2)


def _load(path: Path) -> tuple[list[SigningKey], bytes]:
    try:
        content = orjson.loads(path.read_bytes())
        keys = [
            SigningKey.from_pem(
                entry["private_key"].encode(),
                datetime.fromisoformat(entry["created_at"]),
                datetime.fromisoformat(entry.get("signs_from", entry["created_at"])),
            )
            for entry in content["keys"]
        ]
        secret = bytes.fromhex(content["secret"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} is not a keys file: {error}") from error
    if len(secret) < 32:
        raise ValueError(f"{path}: the secret must have at least 32 bytes")
    return keys, secret


@contextmanager
def _locked(folder: Path) -> Generator[None, None, None]:
    """Wait until no other process changes the keys in ``folder``."""
    if os.name != "posix":
        yield
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


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
