-- Closed periods are dropped when their board's `keep` is over (board/period_store.py): their totals go, the ledger stays.
GRANT DELETE ON board_entries TO worker;
