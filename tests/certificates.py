"""A private authority, and a certificate for loopback that it has signed: TLS as in an organisation of its own."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files: who is to be trusted, and what the server shows."""

    authority: Path
    server: Path
    key: Path


def issue(folder: Path) -> Certificates:
    """New certificates for 127.0.0.1 in `folder`, good for a day."""
    made = Certificates(folder / "authority.pem", folder / "server.pem", folder / "server.key")
    authority, server = generate_private_key(SECP256R1()), generate_private_key(SECP256R1())
    loopback = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    can_sign = x509.BasicConstraints(ca=True, path_length=0)
    made.authority.write_bytes(_signed("authority", authority, authority, can_sign))
    made.server.write_bytes(_signed("server", server, authority, loopback))
    made.key.write_bytes(server.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return made


def _signed(
    name: str, key: EllipticCurvePrivateKey, by: EllipticCurvePrivateKey, extension: x509.ExtensionType
) -> bytes:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        subject_name=_name(name),
        issuer_name=_name("authority"),
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - timedelta(hours=1),
        not_valid_after=now + timedelta(days=1),
    )
    return builder.add_extension(extension, critical=True).sign(by, SHA256()).public_bytes(Encoding.PEM)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
