"""Starts auth_svc: `python -m auth_svc`, configured by the environment."""

import mesh.startup  # noqa: F401 -- first: what fails from here on is told as a JSON line

# isort: split
from contextlib import AsyncExitStack

from auth_svc import http
from auth_svc.access_token import Issuer
from auth_svc.accounts import Accounts
from auth_svc.deny import DenyList
from auth_svc.exchange import Exchange
from auth_svc.guessing import Guessing
from auth_svc.hashing import Hasher
from auth_svc.keyring import Keyring
from auth_svc.oauth import TokenEndpoint
from auth_svc.profile import Profiles
from auth_svc.rotation import Schedule
from auth_svc.service import ACCESS, AuthService
from auth_svc.sessions import Sessions
from auth_svc.settings import AuthSettings
from auth_svc.store import Store
from board.submit import Submitter
from mesh import postgres, redis
from mesh.identity import TokenVerifier
from mesh.keys import MasterKeys
from mesh.rabbitmq import Connection
from mesh.rpc import Service
from mesh.run import run
from mesh.server import serve
from scoreboard.v1 import auth_pb2

NAME = "auth_svc"
POOL_SIZE = 8  # hashing bounds the logins; a query takes about a millisecond


async def main(settings: AuthSettings) -> None:
    """Serves until it is told to stop."""
    async with AsyncExitStack() as stack:
        master_keys = MasterKeys.load(settings.master_keys_file)
        pool = await postgres.create_pool(settings.postgres_url, name=NAME, size=POOL_SIZE)
        stack.push_async_callback(pool.close)
        client = redis.connect(settings.redis_url)
        stack.push_async_callback(client.aclose)
        token_life_s = settings.auth_access_token_life_s
        keyring = Keyring(pool, master_keys, Schedule(settings.auth_key_life_s, token_life_s))
        await keyring.start()
        stack.push_async_callback(keyring.close)
        store = Store(pool)
        deny_list = DenyList(client, store, token_life_s)
        await deny_list.start()
        stack.push_async_callback(deny_list.close)
        hasher = _hasher(settings)
        stack.callback(hasher.close)
        issuer = Issuer(settings.issuer, settings.audience, token_life_s, settings.region)
        sessions = Sessions(store, keyring, master_keys, deny_list, issuer, settings.auth_session_life_s)
        guessing = Guessing(client, settings.logins_per_minute)
        accounts = Accounts(store, sessions, hasher, guessing)
        exchange = None
        if settings.auth_exchange_issuers:
            exchange = Exchange(settings.auth_exchange_issuers, settings.audience, store, sessions, guessing)
            await exchange.start()
            stack.push_async_callback(exchange.close)
        endpoint = TokenEndpoint(accounts, sessions, exchange, settings.trusted_hops)
        stop_http = await http.start(settings.host, settings.auth_http_port, settings.issuer, keyring, endpoint)
        stack.push_async_callback(stop_http)
        # Our own tokens, as every service checks them: by the list that we publish.
        jwks_url = f"http://{settings.host}:{settings.auth_http_port}{http.JWKS_PATH}"
        verifier = TokenVerifier(jwks_url, settings.issuer, settings.audience)
        await verifier.start()
        stack.push_async_callback(verifier.close)
        broker = Connection(settings.rabbitmq_url, NAME)
        broker.start()
        stack.push_async_callback(broker.close)
        profiles = Profiles(store, deny_list, hasher, guessing, Submitter(broker, pool))
        servicer = AuthService(accounts, sessions, profiles, settings.trusted_hops)
        service = Service(auth_pb2.DESCRIPTOR.services_by_name["AuthService"], servicer, ACCESS)
        # The broker is no part of readiness: who signs up and in does without it.
        await serve(
            settings,
            settings.auth_port,
            [service],
            ready=lambda: keyring.is_ready,
            gateway_port=settings.auth_gateway_port,
            verifier=verifier,
        )


def _hasher(settings: AuthSettings) -> Hasher:
    return Hasher(
        memory_kib=settings.auth_hash_memory_kib,
        passes=settings.auth_hash_passes,
        waiting_max=settings.auth_hash_waiting_max,
    )


if __name__ == "__main__":
    run(NAME, AuthSettings, main)
