"""The row `overload`: far more calls than a node takes, some calls up all along; see `run.sh`.

The load tool is the benchmarks' own, `bench/sipload`: SIPp does not call thousands of times a second
while it counts who was refused when.
"""

import json
import os
import subprocess
from pathlib import Path

from node import REPOSITORY, Node

SIPLOAD = Path(os.environ.get("SIPLOAD_BIN", REPOSITORY / "target/release/cooee-sipload"))
# A 503 is worth something to its hearer while it has not sent its INVITE again.
REFUSED_WITHIN_MS = 50
BACK_WITHIN_S = 5
GOODPUT = 0.9
# Places in the figures of a span.
P50, P99 = 0, 1


def sipload(target, caller, callee, steps, *, held=0, core=None, prefix="61255", hold_ms=200):
    """One load; `steps` are (calls a second, seconds). Gives what the tool has counted."""
    pin = ["taskset", "-c", str(core)] if core is not None else []
    done = subprocess.run(
        [*pin, str(SIPLOAD), "--json", "--steps", ",".join(f"{r}x{s}" for r, s in steps),
         "--held", str(held), "--target", f"{target}:5060", "--caller", f"{caller}:5060",
         "--callee", f"{callee}:5060", "--prefix", prefix, "--digits", str(11 - len(prefix)),
         "--hold-ms", str(hold_ms)],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"sipload ended with {done.returncode}: {done.stderr}")
    return json.loads(done.stdout)


def summary(seen, steps, step, held):
    """The figures of one step, of what came after it, and of the calls that were up all along."""
    begins = sum(seconds for _, seconds in steps[:step])
    ends = begins + steps[step][1]
    rows, after = seen["by_second"][begins:ends], seen["by_second"][ends:]
    total = {name: sum(row[name] for row in rows) for name in rows[0]}
    # The last second after it in which a call was refused, failed, or had to wait for its answer.
    unwell = [n + 1 for n, row in enumerate(after) if row["refused"] + row["failed"] + row["slow"]]
    millis = {name: [round(seen[span][q] / 1000, 1) for q in ("p50_us", "p99_us", "max_us")]
              for name, span in (("refused_ms", "invite_to_503"), ("reinvite_ms", "reinvite_to_200"),
                                 ("bye_ms", "bye_to_200"))}
    return {"offered_cps": round(total["started"] / steps[step][1]),
            "goodput_cps": round(total["ok"] / steps[step][1]),
            "slow": total["slow"], "refused": total["refused"], "failed": total["failed"],
            "retransmissions": total["retransmits"], **millis,
            "without_retry_after": seen["without_retry_after"],
            "back_after_s": max(unwell, default=0), "measured_after_s": len(after),
            "held": held, "held_lost": held - seen["held_ok"],
            "held_failed_by": seen["held_failed_by"], "left_up": seen["uas_left_up"]}


def judged(figures, wanted_cps, share=P99):
    """Complaints; so large a share of the 503s has to be told in time."""
    complaints = []
    if figures["goodput_cps"] < GOODPUT * wanted_cps:
        complaints.append(f"goodput {figures['goodput_cps']}/s of {wanted_cps}/s")
    if figures["refused_ms"][share] > REFUSED_WITHIN_MS:
        complaints.append(f"a 503 took {figures['refused_ms']} ms (p50, p99, longest)")
    if figures["without_retry_after"]:
        complaints.append(f"{figures['without_retry_after']} 503s without Retry-After")
    if figures["back_after_s"] > min(BACK_WITHIN_S, figures["measured_after_s"] - 1):
        complaints.append(f"not back to normal after {figures['back_after_s']} s")
    if figures["held_lost"]:
        complaints.append(f"{figures['held_lost']} of {figures['held']} calls in progress lost: "
                          f"{figures['held_failed_by']}")
    return complaints


def overload(where, row):
    """Five times the calls a second that a node takes, with calls up all along: they do not notice,
    the rest is told at once, and afterwards all is as before."""
    limit, held, steps = 100, 50, [(50, 2), (500, 10), (50, 6)]
    node = Node(where / "node-overload", [row.line()], sip="127.3.0.6", ports="22600-22610",
                max_cps=limit, media_mode="bypass")
    try:
        node.start()
        seen = sipload(node.sip, row.caller, row.callee, steps, held=held, prefix=row.prefix,
                       hold_ms=100)
        figures = summary(seen, steps, 1, held)
        metrics = node.metrics()
        # The longest waits are the machine's as much as the node's.
        complaints = judged(figures, limit, P50)
        refused = metrics.get('cooee_rejected_total{why="limit"}', 0)
        told = figures["refused"] + sum(row["refused"] for row in seen["by_second"][-6:])
        if refused < told:
            complaints.append(f"{told} calls were refused, the node counted {refused}")
        if metrics.get("cooee_overload") != 0:
            complaints.append("the node still says that it is overloaded")
        return complaints, figures
    finally:
        node.stop()
