"""The rows about webhooks: all arrive through faults, a dead receiver costs no call anything, and
an operator can see, repeat and drop what waits."""

import json
import statistics
import subprocess
import time
import urllib.request

import checks
import deliveries
from heavy import pair
from node import Node, webhook
from receiver import receiver_in

FAULT_RATE = 0.1
COST_LIMIT = 1.10


def callbacks(where, row, media_row, calls, rate, seed):
    """A burst, a tenth of the attempts fails in four ways: nothing is lost, nothing overtakes."""
    seed = 1 if seed is None else seed
    receiver = receiver_in(where / "callbacks", rate=FAULT_RATE, seed=seed)
    node = Node(where / "node-callbacks", [row.line(), media_row.line()],
                more=webhook(receiver, timeout_ms=1000))
    target, running = f"{node.sip}:5060", []
    try:
        receiver.open()
        node.start()
        with_media = max(1, calls // 10)
        sides = [(row, calls - with_media, rate * 0.9), (media_row, with_media, rate * 0.1)]
        for one, count, speed in sides:
            running += pair(where / "callbacks", one, target, count, speed, 500, log="")
        complaints = []
        for side in running:
            complaints += checks.sipp_went(side.scenario, side.wait(calls / rate + 30),
                                           side.stat(), side.calls)
        cdrs = node.cdrs_settled(calls, 20)
        ended = time.monotonic()
        complaints += node.outbox_emptied(60)
        figures = {"seed": seed, "records": len(cdrs),
                   "emptied_after_s": round(time.monotonic() - ended, 1)}
        attempts = receiver.attempts()
        complaints += deliveries.judged(attempts, cdrs)
        figures |= deliveries.figures(attempts)
        counted = node.metrics().get('cooee_callbacks_delivered_total{webhook="ops"}')
        if counted != figures["events"]:
            complaints.append(f"/metrics says that {counted} were delivered, {figures['events']} were")
        if len(cdrs) != calls or figures["calls"] != calls:
            complaints.append(f"{len(cdrs)} records and events of {figures['calls']} calls, "
                              f"wanted {calls}")
        return complaints, figures
    finally:
        for side in running:
            side.stop()
        node.stop()
        receiver.close()


def cost(where, row, pairs, calls=500, rate=50):
    """INVITE forward with a receiver that hangs on everything against no webhook, run by run."""
    complaints, seen = [], []
    for number in range(pairs):
        both = []
        for name in ("hang", "none"):
            run = where / f"cost{number}-{name}"
            unwell, spans = cost_of(run, row, name == "hang", calls, rate)
            complaints += [f"{name}: {one}" for one in unwell]
            both.append(spans)
        seen.append({"hang_ms": both[0], "none_ms": both[1],
                     "ratio": {p: round(both[0][p] / both[1][p], 3) for p in ("p50", "p99")}})
    ratios = {p: round(statistics.median(one["ratio"][p] for one in seen), 3)
              for p in ("p50", "p99")}
    figures = {"calls_each": calls, "rate": rate, "pairs": seen, "median_ratio": ratios,
               "within": {p: ratio <= COST_LIMIT for p, ratio in ratios.items()}}
    return complaints, figures


def cost_of(where, row, with_webhook, calls, rate):
    """One run on a fresh node; gives (complaints, {p50, p99} in milliseconds)."""
    receiver = receiver_in(where, mode="hang")
    more = webhook(receiver, timeout_ms=1000) if with_webhook else ""
    node, running = Node(where / "node", [row.line()], more=more), []
    try:
        receiver.open()
        node.start()
        target = f"{node.sip}:5060"
        running += pair(where / "warm", row, target, 100, rate, 500, log="")
        complaints = checks.sipp_went("warm-up", running[0].wait(30), running[0].stat(), 100)
        running[1].wait(10)
        post(node, "/v1/latency/reset")
        running += pair(where, row, target, calls, rate, 500, log="")
        complaints += checks.sipp_went("A", running[2].wait(60), running[2].stat(), calls)
        forward = node.latency()["invite_forward"]
        complaints += checks.latency_counted({"invite_forward": forward}, "invite_forward", calls)
        if with_webhook and not receiver.verdicts["hang"]:
            complaints.append("the receiver was never asked: nothing was measured")
        return complaints, {p: round(forward[p] / 1e6, 4) for p in ("p50", "p99")}
    finally:
        for side in running:
            side.stop()
        node.stop()
        receiver.close()


def post(node, path):
    request = urllib.request.Request(f"http://127.0.0.1:{node.admin}{path}", method="POST")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read() or b"null")


class Outbox:
    """`cooee outbox` as an operator types it."""

    def __init__(self, node):
        self.node = node

    def run(self, *words):
        done = subprocess.run(self.node.command("outbox", *words), capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"outbox {words} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def letters(self, state):
        told = self.run("list", "--state", state, "--limit", "1000", "--json")
        return json.loads(told)["letters"]

    def counted(self, state, wanted, seconds=20):
        """The letters in a state once there are as many as wanted, and a complaint otherwise."""
        until = time.monotonic() + seconds
        while True:
            found = self.letters(state)
            if len(found) == wanted:
                return found, []
            if time.monotonic() > until:
                return found, [f"outbox list: {len(found)} {state}, wanted {wanted}"]
            time.sleep(0.2)


def outbox(where, row, calls=20):
    """Nobody listens, an operator looks, drops one, retries; then a receiver that wants nothing."""
    receiver = receiver_in(where / "outbox")
    node = Node(where / "node-outbox", [row.line()], more=webhook(receiver, timeout_ms=1000))
    running, box = [], Outbox(node)
    try:
        node.start()
        complaints = some_calls(where / "outbox", row, node, calls, running)
        waiting_now, unwell = box.counted("waiting", 4 * calls)
        complaints += unwell
        victim = next(one for one in waiting_now if one["sequence"] == 2)
        if victim["call"] not in box.run("list", "--state", "waiting", "--limit", "1000"):
            complaints.append("outbox list shows a person no such call")
        if json.loads(box.run("show", str(victim["id"]), "--json"))["event"] != victim["event"]:
            complaints.append(f"outbox show {victim['id']} shows another")
        box.run("retry", "--all")
        box.run("drop", str(victim["id"]))
        complaints += box.counted("waiting", 4 * calls - 1)[1]
        receiver.open()
        box.run("retry", "--all")
        complaints += node.outbox_emptied(60)
        dropped = {victim["event"]}
        arrived = {one["id"] for one in receiver.attempts()}
        if arrived & dropped:
            complaints.append(f"{victim['event']} was dropped and came")
        complaints += deliveries.judged(receiver.attempts(), node.cdrs(), dropped)
        receiver.mode = "410"
        complaints += some_calls(where / "outbox", row, node, calls, running)
        dead, unwell = box.counted("dead", 4 * calls)
        complaints += unwell
        if any(one["last_status"] != 410 for one in dead):
            complaints.append("a dead letter that was not refused with 410")
        receiver.mode = "faulty"
        box.run("retry", "--all", "--state", "dead")
        complaints += box.counted("dead", 0)[1] + node.outbox_emptied(60)
        cdrs = node.cdrs()
        attempts = receiver.attempts()
        complaints += deliveries.judged(attempts, cdrs, dropped)
        if len(cdrs) != 2 * calls:
            complaints.append(f"{len(cdrs)} records, wanted {2 * calls}")
        return complaints, {"waited": len(waiting_now), "dropped": len(dropped), "dead": len(dead),
                            **deliveries.figures(attempts)}
    finally:
        for side in running:
            side.stop()
        node.stop()
        receiver.close()


def some_calls(where, row, node, calls, running):
    """Calls that go well, until the last of their records is there."""
    before = len(node.cdrs())
    a, b = pair(where, row, f"{node.sip}:5060", calls, 20, 200, log="")
    running += [a, b]
    complaints = checks.sipp_went("A", a.wait(30), a.stat(), calls)
    b.wait(10)
    node.cdrs_settled(before + calls)
    return complaints
