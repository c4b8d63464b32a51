"""Only what changed: an incremental build is a build from nothing."""

from __future__ import annotations

import numpy as np


def test_time(world, tmp_path):
    import time
    from time import process_time as P

    t = time.time()
    b = world.build()
    print("FIRST", len(b), time.time() - t, P())
    t = time.time()
    b = world.build()
    print("REST", b, time.time() - t, P())
    rng = np.random.default_rng(0)
    for _ in range(10):
        world.edit(rng)
    world.write()
    t = time.time()
    b = world.build()
    print("EDIT", len(b), time.time() - t, P())
    t = time.time()
    b = world.anew(tmp_path / "other").build()
    print("ANEW", len(b), time.time() - t, P())
