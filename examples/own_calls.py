"""Calls the generated stubs by hand and still reads errors in one way: `python examples/own_calls.py [GATEWAY]`.

Prints:

    UNKNOWN_BOARD: There is no board 'nowhere': ListBoards names them.
"""

import sys

import grpc

from scoreboard.client import to_error
from scoreboard.v1 import leaderboard_pb2, leaderboard_pb2_grpc


def main(gateway: str) -> None:
    """Asks for a board that is not there."""
    with grpc.insecure_channel(gateway) as channel:
        boards = leaderboard_pb2_grpc.LeaderboardServiceStub(channel)
        try:
            boards.GetLeaderboard(leaderboard_pb2.GetLeaderboardRequest(board="nowhere"), timeout=5)
        except grpc.RpcError as error:
            print(to_error(error))


if __name__ == "__main__":
    main((sys.argv[1:] or ["127.0.0.1:8080"])[0])
