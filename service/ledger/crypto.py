"""Texts are sealed before they touch a disk: a data key per exchange, wrapped by a master key that can be rotated.

Without its data key a text is noise, so destroying the key erases every copy. Hashes of identifiers are keyed, so that
nobody can test guesses against them without the master key.
"""

import base64
import binascii
import hmac
import json
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12


class SealError(Exception):
    """A text cannot be opened: wrong master key, or the bytes were changed. Or a master key cannot be used."""


class DataKey:
    """The key of one exchange. `wrapped` is what may be stored: useless without the master key."""

    def __init__(self, exchange_id: str, master_id: str, secret: bytes, wrapped: bytes) -> None:
        self.id = uuid.uuid4().hex
        self.exchange_id, self.master_id, self.wrapped = exchange_id, master_id, wrapped
        self._cipher = AESGCM(secret)

    def seal(self, event_id: str, texts: Any) -> bytes:
        """Nonce and ciphertext of `texts` (JSON), bound to the event they belong to."""
        # not orjson: half a surrogate pair, which a client may send, must not stop the record
        return _encrypt(self._cipher, json.dumps(texts).encode(), event_id)


class Vault:
    """Wraps data keys and hashes identifiers.

    The first master key wraps; the others only unwrap what they wrapped. Hashes stay with the last (oldest) one, so
    that a rotation changes no hash.
    """

    def __init__(self, masters: Sequence[bytes]) -> None:
        if not masters or any(len(m) != KEY_BYTES for m in masters):
            raise SealError(
                f"the master key must be base64 of {KEY_BYTES} bytes; make one with: openssl rand -base64 32"
            )
        self._ciphers = {_derive(m, "id").hex()[:16]: AESGCM(_derive(m, "wrap")) for m in masters}
        self.master_id = next(iter(self._ciphers))
        self._hash_key = _derive(masters[-1], "hash")

    def new_key(self, exchange_id: str) -> DataKey:
        secret = os.urandom(KEY_BYTES)
        wrapped = _encrypt(self._ciphers[self.master_id], secret, exchange_id)
        return DataKey(exchange_id, self.master_id, secret, wrapped)

    def open(self, exchange_id: str, master_id: str, wrapped: bytes, event_id: str, sealed: bytes) -> Any:
        """The texts that `DataKey.seal` sealed. Raises SealError."""
        master = self._master(master_id)
        try:
            cipher = AESGCM(_decrypt(master, wrapped, exchange_id))
            return json.loads(_decrypt(cipher, sealed, event_id))
        except InvalidTag:
            raise SealError(f"the text of {event_id} was changed, or belongs to another event") from None

    def rewrap(self, exchange_id: str, master_id: str, wrapped: bytes) -> bytes:
        """A data key that an older master key wrapped, wrapped by the first one. Raises SealError."""
        try:
            secret = _decrypt(self._master(master_id), wrapped, exchange_id)
        except InvalidTag:
            raise SealError(f"the key of {exchange_id} was changed, or belongs to another exchange") from None
        return _encrypt(self._ciphers[self.master_id], secret, exchange_id)

    def _master(self, master_id: str) -> AESGCM:
        if master_id not in self._ciphers:
            raise SealError(f"sealed under master key {master_id}, which is not among the keys given")
        return self._ciphers[master_id]

    def keyed_hash(self, purpose: str, value: str) -> str:
        """HMAC-SHA256 in hex; the same value under another purpose gives another hash."""
        return hmac.digest(self._hash_key, f"{purpose}\0{value}".encode(errors="surrogatepass"), "sha256").hex()


def vault(home: Path, master_key: str | None = None, used: bool = False) -> Vault:
    """The vault of an installation: `master_key` (base64, several parted by spaces), or the file in `home`, made once.

    `used`: something was sealed and hashed before, so a missing file is a loss that a new key would only hide.

    Raises:
        SealError: no usable key.
    """
    origin = "SLUICEGATE_MASTER_KEY" if master_key else str(home / "master.key")
    try:
        words = (master_key or _key_file(home / "master.key", used)).split()
        return Vault([base64.b64decode(word, validate=True) for word in words])
    except (binascii.Error, ValueError):
        raise SealError(f"{origin}: not base64; make a key with: openssl rand -base64 {KEY_BYTES}") from None
    except OSError as error:
        raise SealError(f"{origin}: cannot be read or made ({error.strerror}); check the folder's owner") from None


def _key_file(path: Path, used: bool) -> str:
    """The file's text; when there is none it is made, whole and private: of two makers one wins, both read the same."""
    if not path.exists():
        if used:
            raise SealError(
                f"{path} is missing; texts and API keys depend on it: restore it, or set SLUICEGATE_MASTER_KEY"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(base64.b64encode(os.urandom(KEY_BYTES)) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
        sync_folder(path.parent)
    if path.stat().st_mode & 0o007:
        raise SealError(f"{path}: readable by everybody; run: chmod 600 {path}")
    return path.read_text(encoding="ascii")


def sync_folder(folder: Path) -> None:
    """Makes new names in `folder` durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _derive(master: bytes, purpose: str) -> bytes:
    # RFC 5869; one master key, no key used for two purposes
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=f"sluicegate/{purpose}".encode()).derive(master)


def _encrypt(cipher: AESGCM, data: bytes, bound_to: str) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, data, bound_to.encode())


def _decrypt(cipher: AESGCM, data: bytes, bound_to: str) -> bytes:
    return cipher.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], bound_to.encode())
