"""Makes what an encrypted server needs, for tests of an hour.

    certificates.py DIR

Writes to DIR: `ca.pem`, `server.pem` and `server.key` for 127.0.0.1 and localhost,
`client.pem` and `client.key`, all of that authority; `stranger.pem`, another
authority, and `outsider.pem` and `outsider.key` of that one. Nobody else can read
the keys. Prints an nkey of a NATS user: its public key and its seed.
"""

import base64
import binascii
import datetime
import ipaddress
import pathlib
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID
from peer import say


def certificate(name, issuer=None, hosts=()):
    """A certificate and its key; without an issuer it is an authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), True)
    )
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(hosts)), False)
    signed = builder.sign(issuer[1] if issuer else key, hashes.SHA256())
    return signed, key


def write(directory, name, made):
    signed, key = made
    pem = serialization.Encoding.PEM
    (directory / f"{name}.pem").write_bytes(signed.public_bytes(pem))
    path = directory / f"{name}.key"
    path.touch(0o600)
    path.write_bytes(
        key.private_bytes(
            pem,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


def nkey():
    """A key pair of a NATS user, in the letters of nkeys."""
    key = ed25519.Ed25519PrivateKey.generate()
    raw = serialization.Encoding.Raw
    public = key.public_key().public_bytes(raw, serialization.PublicFormat.Raw)
    seed = key.private_bytes(
        raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
    )
    user, is_seed = 20 << 3, 18 << 3
    prefix = bytes([is_seed | user >> 5, (user & 31) << 3])
    return letters(bytes([user]) + public), letters(prefix + seed)


def letters(data):
    check = binascii.crc_hqx(data, 0).to_bytes(2, "little")
    return base64.b32encode(data + check).decode().rstrip("=")


def main(directory):
    authority = certificate("capdeck test authority")
    hosts = [
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.DNSName("localhost"),
    ]
    write(directory, "ca", authority)
    write(directory, "server", certificate("server", authority, hosts))
    write(directory, "client", certificate("client", authority))
    stranger = certificate("another authority")
    write(directory, "stranger", stranger)
    write(directory, "outsider", certificate("outsider", stranger))
    public, seed = nkey()
    say("made", public=public, seed=seed)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
