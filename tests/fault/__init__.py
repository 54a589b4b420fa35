"""Faults on a mesh that a test may break, and a checker that says what became of every update.

    @pytest.mark.promise(row=1)
    async def test_a_worker_crash_is_harmless(trial: Trial) -> None:
        world, load = trial.world, trial.load
        await load.add_players(20)                      # every test has players of its own
        async with load.playing(load.play_batches(2_000, rate_per_s=500)):
            await world.workers[0].kill()               # Process: kill, freeze, thaw, start, stop
            await world.workers[0].start()
            await trial.flows()                         # an update is applied within 5 s
        trial.answered_in_time()                        # no call took over 3 s
        await trial.holds()                             # resolves what is UNKNOWN, then checks INV

- `world.processes["redis"]`: postgres, redis, rabbitmq, score_svc, worker-1, worker-2, leaderboard_svc, stream_svc.
- `world.gate("worker-1", "redis")`: that one link: shut, open, cut, freeze, delay, half_close, heal (tests/gate.py).
- `world.scores`, `.boards`, `.streams`: gRPC stubs; `.pool`, `.view`, `.broker`: the owner's, past all gates.
- `tests.fault.faults`: FLUSHALL, an old Redis or Postgres, alarms, a full queue, named points.
- `load.running(rate_per_s=40)`: signed updates until the block ends; `load.answers`: how each call ended and how long
  it took; `load.sent`: what each update was told.
- `world.timeline.note(…)`, `.fault(…)`: the log of a test that failed, with its seed; `make soak` counts the faults.

Sizes are `tests.sizes.sized(test, soak)`. A test need not mend what it broke: the fixture does, and waits for quiet. It
fails a test in which a process ended by itself, or logged an error.
"""
