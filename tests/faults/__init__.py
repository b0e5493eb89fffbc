"""The fault harness: real sessions, servers and faults, drawn from seeds; then invariants that must hold.

``python -m tests.faults --seeds 100`` prints one line per seed and a summary, and exits with 1 after any violation. A
seed is run again with ``python -m tests.faults --seed 17 --keep FOLDER``: the same plans, devices and faults are drawn,
and the seed's logs and data stay in FOLDER/17. What races is not drawn: a fault hits the same request or message again,
but two threads may reach it in another order.

One seed is one `cases.Case`. Its parts:

`cases`
    What is drawn: which plans run, how the server runs, which faults hit.
`devices`, `scenarios`
    Motors that know where they truly are, detectors whose readings hold it, and the plans that use them.
`session`, `hand`, `hits`
    The session's process: it runs the plans and puts every emitted document on a tape (`tape`), outside the package.
    Faults that only this process can cause live here: people that move motors, kills at a request.
`proxy`, `processes`, `disk`
    The parent's side: the proxy between session and server, the processes, a disk that can be full.
`truth`, `stored`, `equality`
    What was emitted according to the tapes, what Tiled holds, and when a value counts as the same.
`invariants`, `motions`, `access`
    What must hold in the end.
`runner`
    One seed, start to end.
"""
