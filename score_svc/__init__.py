"""Takes score updates: nonces, signatures, acceptance, hand-over to the queue, and the waiting for results."""
