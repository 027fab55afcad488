"""Seal and open facts with AES-256-GCM (NIST SP 800-38D), by named keys that can be rotated.

Nonces are 96 random bits, which is safe for 2^32 sealings under one key (SP 800-38D 8.3): rotate well before.
"""

import base64
import binascii
import json
import os
from collections.abc import Mapping
from typing import Any, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import BaseModel

from imex.events.sealed import Sealed

_KEY_BYTES = 32
_NONCE_BYTES = 12
_LABEL = b"imex.sealed/1"

Model = TypeVar("Model", bound=BaseModel)


class SealingError(ValueError):
    """Sealing or opening failed; the words never hold plaintext or keys."""


class UnknownKey(SealingError):
    """Sealed under a key that this process does not hold."""

    def __init__(self, key_id: str, known: list[str]) -> None:
        self.key_id = key_id
        super().__init__(
            f"sealed under key {key_id!r}, which is not among {', '.join(known)}; add it to IMEX_SEALING_KEYS"
        )


class CannotOpen(SealingError):
    """The ciphertext was changed, belongs to another context, or the key of that name is another one."""


class Sealer:
    """Seals under the current key; opens under every key it holds."""

    def __init__(self, keys: Mapping[str, bytes], current: str) -> None:
        """``keys``: key id to 32 bytes. Raises ``SealingError`` where a key is unfit or ``current`` lacks."""
        if current not in keys:
            raise SealingError(
                f"the current key {current!r} is not among the keys {', '.join(sorted(keys)) or '(none)'}"
            )
        for key_id, key in keys.items():
            if len(key) != _KEY_BYTES:
                raise SealingError(f"key {key_id!r} has {len(key)} bytes; AES-256 takes {_KEY_BYTES}")
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self._current = current

    def seal(self, facts: BaseModel | Mapping[str, Any], context: bytes) -> Sealed:
        """Seal facts to a context (such as an event's id), without which they cannot be opened."""
        plain = (
            facts.model_dump_json().encode()
            if isinstance(facts, BaseModel)
            else json.dumps(dict(facts), ensure_ascii=False, separators=(",", ":")).encode()
        )
        nonce = os.urandom(_NONCE_BYTES)
        ciphertext = self._ciphers[self._current].encrypt(nonce, plain, self._bound(self._current, context))
        return Sealed(
            key_id=self._current,
            nonce=base64.b64encode(nonce).decode(),
            ciphertext=base64.b64encode(ciphertext).decode(),
        )

    def open(self, sealed: Sealed, context: bytes) -> dict[str, Any]:
        """The facts. Raises ``UnknownKey`` or ``CannotOpen``."""
        facts = json.loads(self._plain(sealed, context))
        if not isinstance(facts, dict):
            raise CannotOpen(f"what was sealed under key {sealed.key_id!r} is no mapping of facts")
        return facts

    def open_as(self, model: type[Model], sealed: Sealed, context: bytes) -> Model:
        """The facts as a model. Raises ``UnknownKey``, ``CannotOpen`` or pydantic's ``ValidationError``."""
        return model.model_validate_json(self._plain(sealed, context))

    def is_current(self, sealed: Sealed) -> bool:
        """Whether it is sealed under the current key, so that rotation has nothing to do."""
        return sealed.key_id == self._current

    def reseal(self, sealed: Sealed, context: bytes) -> Sealed:
        """The same facts under the current key; unchanged where they are already."""
        return sealed if self.is_current(sealed) else self.seal(self.open(sealed, context), context)

    def _plain(self, sealed: Sealed, context: bytes) -> bytes:
        cipher = self._ciphers.get(sealed.key_id)
        if cipher is None:
            raise UnknownKey(sealed.key_id, sorted(self._ciphers))
        try:
            nonce = base64.b64decode(sealed.nonce, validate=True)
            ciphertext = base64.b64decode(sealed.ciphertext, validate=True)
        except binascii.Error as error:
            raise CannotOpen("nonce or ciphertext is not base64") from error
        if len(nonce) != _NONCE_BYTES:
            raise CannotOpen(f"the nonce has {len(nonce)} bytes; {_NONCE_BYTES} are wanted")
        try:
            return cipher.decrypt(nonce, ciphertext, self._bound(sealed.key_id, context))
        except InvalidTag:
            raise CannotOpen(
                f"sealed under key {sealed.key_id!r}, but the ciphertext was changed, belongs to another "
                "context, or the key of that name is another one"
            ) from None

    @staticmethod
    def _bound(key_id: str, context: bytes) -> bytes:
        name = key_id.encode()
        return b"%s\x00%d\x00%s%s" % (_LABEL, len(name), name, context)
