"""k8s/overlays/prod: TLS as its files say, on real servers: the gateway's own, renewed while it runs, and Redis'."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import os
import socket
import ssl
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mesh import redis
from scoreboard.local import accounts, probe, servers
from scoreboard.local.installed import debian_program
from scoreboard.local.ports import Ports
from scoreboard.local.program import Program
from scripts import cluster
from tests.k8s.rendered import external_secrets, pod
from tests.servers import run
from tests.waiting import SCALE, eventually

PROD = cluster.K8S / "overlays" / "prod"


def certify(folder: Path, serial: int) -> None:
    """Writes tls.crt, tls.key and ca.crt for 127.0.0.1, as cert-manager does; what is there is replaced whole."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), serial, now, now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    text = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for file, content in (("tls.key", private), ("tls.crt", text), ("ca.crt", text)):
        (folder / f"{file}.new").write_bytes(content)
        os.replace(folder / f"{file}.new", folder / file)


async def test_the_gateway_speaks_tls_and_takes_a_renewed_certificate(tmp_path: Path) -> None:
    certificates = tmp_path / "tls"
    certificates.mkdir()
    certify(certificates, 1)
    names = tmp_path / "edge-tls.yaml"
    names.write_text((PROD / "edge-tls.yaml").read_text().replace("/etc/envoy-tls", str(certificates)))
    ports = Ports()
    port, admin = ports.take("envoy"), ports.take("admin")
    text = (PROD / "envoy.yaml").read_text().replace(str(cluster.CERTIFICATE), str(names))
    for number, ours in ((cluster.EDGE_PORT, port), (cluster.ENVOY_ADMIN_PORT, admin)):
        assert f"port_value: {number}}}" in text
        text = text.replace(f"port_value: {number}}}", f"port_value: {ours}}}")
    program = servers.envoy(tmp_path, "node: {id: envoy, cluster: scoreboard}\n" + text, port, admin)
    ports.release("admin")
    envoy = await run(program, ports, tmp_path)
    try:
        assert await eventually(partial(asyncio.to_thread, served, port)) == (1, "h2")
        certify(certificates, 2)

        async def is_renewed() -> bool:
            return await asyncio.to_thread(served, port) == (2, "h2")

        await eventually(is_renewed, what="the renewed certificate")
    finally:
        await envoy.kill()


def served(port: int) -> tuple[int, str | None]:
    """Returns the serial number of the certificate that is served, and the protocol that is chosen."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        context.wrap_socket(plain) as secure,
    ):
        shown = secure.getpeercert(binary_form=True)
        assert shown is not None
        return x509.load_der_x509_certificate(shown).serial_number, secure.selected_alpn_protocol()


async def test_redis_takes_the_services_by_tls_alone(tmp_path: Path) -> None:
    certify(tmp_path, 1)
    passwords = {account: f"password-of-{account}" for account in accounts.ACCOUNTS}
    (tmp_path / "users.acl").write_text(accounts.redis_acl(passwords))
    ports = Ports()
    port = ports.take("redis")
    places = {"/data": str(tmp_path), "/etc/redis/users.acl": str(tmp_path / "users.acl"), "6379": str(port)}
    places |= {f"/etc/redis-tls/{name}": str(tmp_path / name) for name in ("tls.crt", "tls.key", "ca.crt")}
    argv = [places.get(argument, argument) for argument in pod("prod", "redis").container["args"]]
    template = external_secrets("prod")["worker"]["target"]["template"]["data"]["SCOREBOARD_REDIS_URL"]
    url = template.replace("{{ .redis }}", passwords["worker"])
    parts = urlsplit(url)
    url = url.replace(f"@{parts.hostname}:{parts.port}", f"@127.0.0.1:{port}")
    url = url.replace("/etc/scoreboard/ca/ca.crt", str(tmp_path / "ca.crt"))
    program = Program("redis", (debian_program("redis-server", "redis-server"), *argv), port, partial(probe.redis, url))
    running = await run(program, ports, tmp_path)
    try:
        client = redis.connect(url, timeout_s=5 * SCALE)
        assert await client.set("sb:boards", "x")
        await client.aclose()
        assert not await probe.redis(url.replace("rediss:", "redis:").partition("?")[0])
    finally:
        await running.kill()
