"""Resident memory that a node keeps of calls which are over, until their last timer and after it.

The first half of them also makes the node allocate what it keeps for good (the database's cache
above all): what a call keeps is the difference that the second half makes."""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "sipp-scenarios"))

from node import Node  # noqa: E402
from shedding import sipload  # noqa: E402

CALLER, CALLEE, SIP = "127.1.48.1", "127.2.48.1", "127.3.48.1"
LINE = {"name": "bench", "role": "customer-leg", "profile": "voximplant-app", "prefix": "61255",
        "peers": [f"{CALLEE}:5060"]}
TIMERS_S = 40  # the longest is 64*T1, 32 s


def main():
    parser = argparse.ArgumentParser(prog="bench/run ended", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=1000, help="calls a second")
    parser.add_argument("--seconds", type=int, default=12, help="each half: both within 32 s")
    parser.add_argument("--node-core", type=int, default=0)
    parser.add_argument("--load-core", type=int, default=1)
    given = parser.parse_args()
    where = Path(tempfile.mkdtemp(prefix="cooee-bench-"))
    node = Node(where / "node", [LINE], cpu=given.node_core, sip=SIP, ports="10000-10010",
                max_cps=100_000, media_mode="bypass")
    try:
        node.start()
        # What a node allocates once is not of these calls.
        sipload(node.sip, CALLER, CALLEE, [(100, 5)], core=given.load_core)
        time.sleep(TIMERS_S)
        before = node.rss_kb()
        half, full = [over(node, given) for _ in range(2)]
        time.sleep(TIMERS_S)
        after = node.rss_kb()
    finally:
        node.stop()
        shutil.rmtree(where, ignore_errors=True)
    calls = given.rate * given.seconds
    print(f"{before} kB before, {half} kB with {calls} calls over, {full} kB with {2 * calls}, "
          f"{after} kB when their timers have run out")
    print(f"{(full - half) * 1024 / calls:.0f} B a call of the second half, "
          f"{(full - before) * 1024 / calls / 2:.0f} B a call of both")


def over(node, given):
    """So many calls come and go; the resident memory then."""
    seen = sipload(node.sip, CALLER, CALLEE, [(given.rate, given.seconds)], core=given.load_core)
    done = sum(second["ok"] for second in seen["by_second"])
    if done != given.rate * given.seconds:
        raise RuntimeError(f"only {done} calls went through")
    return node.rss_kb()


if __name__ == "__main__":
    main()
