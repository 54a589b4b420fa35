"""Keeps the catalogue at hand, a few seconds old at most, and looks again before it says that a board is not there."""

import asyncpg

from board.catalogue import Board, Catalogue
from board.catalogue_store import load_catalogue
from mesh.fresh import PAUSE_S, Fresh


class CatalogueCache(Fresh[Catalogue]):
    """The catalogue that holds, or held a moment ago; `pause_s` as of mesh.fresh.Fresh."""

    def __init__(self, pool: asyncpg.Pool, *, pause_s: float = PAUSE_S) -> None:
        super().__init__("catalogue", self._load, Catalogue(), pause_s=pause_s)
        self._pool = pool

    @property
    def is_loaded(self) -> bool:
        """True once a catalogue was read that someone had applied."""
        return self.current.revision > 0

    async def board(self, name: str) -> Board | None:
        """Returns a board by name; one that is missing is looked up before the answer is None."""
        if name not in self.current.boards:
            await self.learn()
        return self.current.boards.get(name)

    async def _load(self) -> Catalogue:
        async with self._pool.acquire() as connection:
            return await load_catalogue(connection)
