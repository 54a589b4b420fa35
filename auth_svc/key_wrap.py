"""Makes signing keys and wraps their private part for the table.

Pure but for chance. Wrapped: 4 bytes master key id, 12 bytes nonce, AES-256-GCM of PKCS 8; the kid is bound in, so that
no row's key can stand in another's place.
"""

import json
import os
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from jwt.algorithms import ECAlgorithm

from mesh.keys import MasterKeys, b64url

ALGORITHM = "ES256"  # verifying costs 104 µs, EdDSA 136 (docs/decisions), and the gateway knows both
ID_BYTES, NONCE_BYTES = 4, 12
PURPOSE = "jwt-keys"


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key pair that no row has yet."""

    kid: str
    public_jwk: str
    private_key: ec.EllipticCurvePrivateKey


def make_key() -> NewKey:
    """Returns a new key pair under a random kid."""
    private_key = ec.generate_private_key(ec.SECP256R1())
    kid = b64url(os.urandom(9))
    jwk = ECAlgorithm.to_jwk(private_key.public_key(), as_dict=True)
    return NewKey(kid, json.dumps({**jwk, "kid": kid, "use": "sig", "alg": ALGORITHM}), private_key)


def wrap(master_keys: MasterKeys, kid: str, private_key: ec.EllipticCurvePrivateKey) -> bytes:
    """Returns the private key wrapped with the current master key."""
    plain = private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    nonce = os.urandom(NONCE_BYTES)
    current = master_keys.current
    key = master_keys.derive(current, PURPOSE)
    return current.to_bytes(ID_BYTES) + nonce + AESGCM(key).encrypt(nonce, plain, kid.encode())


def unwrap(master_keys: MasterKeys, kid: str, wrapped: bytes) -> ec.EllipticCurvePrivateKey:
    """Returns the private key. Raises KeyError for a master key that is gone, InvalidTag or ValueError for damage."""
    master_key_id = wrapped_with(wrapped)
    nonce, sealed = wrapped[ID_BYTES : ID_BYTES + NONCE_BYTES], wrapped[ID_BYTES + NONCE_BYTES :]
    key = master_keys.derive(master_key_id, PURPOSE)
    private_key = load_der_private_key(AESGCM(key).decrypt(nonce, sealed, kid.encode()), password=None)
    if not isinstance(private_key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"key {kid} is not for {ALGORITHM}")
    return private_key


def wrapped_with(wrapped: bytes) -> int:
    """Returns the id of the master key that wrapped it."""
    return int.from_bytes(wrapped[:ID_BYTES])
