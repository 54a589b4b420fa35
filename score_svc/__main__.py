"""Starts score_svc: `python -m score_svc`."""

import mesh.startup  # noqa: F401 -- first: what fails from here on is told as a JSON line

# isort: split
from contextlib import AsyncExitStack

from mesh import redis
from mesh.identity import TokenVerifier
from mesh.keys import MasterKeys
from mesh.postgres import create_pool
from mesh.rabbitmq import Connection, Publisher
from mesh.rpc import Service
from mesh.run import run
from mesh.server import serve
from score_svc.accept import Acceptor
from score_svc.catalogue import ActionsAndClients
from score_svc.check import Checks
from score_svc.handover import HandOver
from score_svc.ledger import LedgerReader
from score_svc.results import ResultDesk
from score_svc.service import ACCESS, ScoreServicer
from score_svc.settings import ScoreSettings
from score_svc.update import Updates
from scoreboard.v1 import score_pb2

NAME = "score_svc"
POOL_SIZE = 4  # ledger questions are grouped, so that few run at once
QUERY_TIMEOUT_S = 1.0


async def main(settings: ScoreSettings) -> None:
    """Wires the parts, serves until told to stop, and closes them in the order that loses nothing."""
    keys = MasterKeys.load(settings.master_keys_file)
    async with AsyncExitStack() as stack:
        pool = await create_pool(settings.postgres_url, name=NAME, size=POOL_SIZE, command_timeout_s=QUERY_TIMEOUT_S)
        stack.callback(pool.terminate)
        client = redis.connect(settings.redis_url)
        stack.push_async_callback(client.aclose)
        acceptor = Acceptor(client)
        stack.push_async_callback(acceptor.close)
        ledger = LedgerReader(pool)
        desk = ResultDesk(ledger.outcomes, acceptor.settle)
        stack.push_async_callback(desk.close)
        desk.start()
        connection = Connection(settings.rabbitmq_url, NAME)
        stack.push_async_callback(connection.close)
        connection.start()

        def on_reply(body: bytes) -> None:
            desk.on_reply(body)
            hand_over.on_results()

        publisher = Publisher(connection, on_reply)
        hand_over = HandOver(publisher, desk.fail, lambda: desk.count, settings.score_answer_budget_s)
        stack.push_async_callback(hand_over.close)
        verifier = TokenVerifier(settings.jwks_url, settings.issuer, settings.audience)
        stack.push_async_callback(verifier.close)
        await verifier.start()
        catalogue = ActionsAndClients(pool)
        stack.push_async_callback(catalogue.close)
        await catalogue.start()
        checks = Checks(keys, catalogue, settings.updates_per_minute, settings.score_client_nonces)
        updates = Updates(acceptor, ledger, desk, hand_over)
        servicer = ScoreServicer(checks, updates, acceptor, ledger, settings.score_answer_budget_s)
        await serve(
            settings,
            settings.score_port,
            [Service(score_pb2.DESCRIPTOR.services_by_name["ScoreService"], servicer, ACCESS)],
            ready=lambda: connection.is_ready and verifier.is_ready,
            gateway_port=settings.score_gateway_port,
            verifier=verifier,
        )


if __name__ == "__main__":
    run(NAME, ScoreSettings, main)
