"""What must hold of the webhooks that a receiver got, as plain functions over its log.

An attempt is a line of the receiver's log: at, verdict, wrong, id, sha256, event. Each check gives
a list of complaints; an empty list is a pass.
"""

from collections import Counter, defaultdict
from datetime import datetime

import checks

PREFIX = "cooee.call."
# An event must exist where the record has this time.
TOLD_BY = {"ringing": "t_b_18x_us", "platform_answered": "t_b_200_us",
           "agent_answered": "t_agent_us", "bridged": "t_bridge_us"}
SEALED = ("outcome", "end_party", "sip_final", "t_agent_src", "hold_count")


def judged(attempts, cdrs, dropped=()):
    """All checks. `dropped` are ids that an operator took out of the outbox."""
    return (genuine(attempts) + same_bytes(attempts) + in_order(attempts, dropped)
            + delivered(attempts, dropped) + complete(attempts, cdrs, dropped)
            + of_known_calls(attempts, cdrs) + agrees(attempts, cdrs))


def genuine(attempts):
    """Each was signed with our key and reads as a webhook."""
    return [f"{one['id']}: {one['wrong']}" for one in attempts if one["wrong"]]


def told(attempts):
    """Those that could be read."""
    return [one for one in attempts if one["event"]]


def firsts(attempts):
    """The first attempt of each event, in the order of arrival."""
    found = {}
    for one in told(attempts):
        found.setdefault(one["id"], one)
    return list(found.values())


def by_call(attempts):
    """The first attempt of each event, by call."""
    found = defaultdict(list)
    for one in firsts(attempts):
        found[one["event"]["call_id"]].append(one)
    return found


def kind(one):
    return one["event"]["type"].removeprefix(PREFIX)


def same_bytes(attempts):
    """An id always stands for the same bytes, and a place in a call for the same id."""
    bodies, places = defaultdict(set), defaultdict(set)
    for one in told(attempts):
        bodies[one["id"]].add(one["sha256"])
        places[one["event"]["call_id"], one["event"]["sequence"]].add(one["id"])
    found = [f"{event}: {len(seen)} different bodies" for event, seen in bodies.items()
             if len(seen) > 1]
    return found + [f"{call}: sequence {number} is {sorted(ids)}"
                    for (call, number), ids in places.items() if len(ids) > 1]


def in_order(attempts, dropped=()):
    """The events of a call arrive as 1, 2, 3, each only after the one before was taken.

    One that was dropped leaves its gap; a 410 lets the next go, as a dead letter does.
    """
    found, last, taken = [], {}, set()
    for one in told(attempts):
        call, number = one["event"]["call_id"], one["event"]["sequence"]
        before = last.get(call, (0, None))
        if number > before[0]:
            gone = {id for id in dropped if id.startswith(call + "-")}
            if number != before[0] + 1 and not (gone and number - before[0] - 1 <= len(gone)):
                found.append(f"{call}: sequence {number} came after {before[0]}")
            if before[1] is not None and before[1] not in taken and before[1] not in gone:
                found.append(f"{one['id']}: came before {before[1]} was taken")
            last[call] = (number, one["id"])
        if one["verdict"] in ("200", "410"):
            taken.add(one["id"])
    return found


def delivered(attempts, dropped=()):
    """Each event that was ever tried was taken in the end."""
    taken = {one["id"] for one in told(attempts) if one["verdict"] == "200"}
    return [f"{one['id']}: never taken" for one in firsts(attempts)
            if one["id"] not in taken and one["id"] not in dropped]


def complete(attempts, cdrs, dropped=()):
    """Each call has every event that its record speaks of, and exactly one end."""
    found, calls = [], by_call(attempts)
    for cdr in cdrs:
        seen = Counter(map(kind, calls.get(cdr["id"], [])))
        wanted = [name for name, field in TOLD_BY.items() if cdr.get(field) is not None]
        lacking = [name for name in [*wanted, "ended"] if not seen[name]]
        excused = sum(id.startswith(cdr["id"] + "-") for id in dropped)
        if len(lacking) > excused:
            found.append(f"{cdr['id']}: no event {', '.join(lacking)}")
        if seen["ended"] > 1:
            found.append(f"{cdr['id']}: {seen['ended']} different ends")
    return found


def of_known_calls(attempts, cdrs):
    """No event speaks of a call that has no record."""
    known = {cdr["id"] for cdr in cdrs}
    return [f"{call}: events of a call without a record"
            for call in by_call(attempts) if call not in known]


def agrees(attempts, cdrs):
    """The last word on a call, its end or what changed it, says what the record says."""
    found, calls = [], by_call(attempts)
    for cdr in cdrs:
        words = [one for one in calls.get(cdr["id"], []) if kind(one) in ("ended", "amended")]
        if words:
            data = max(words, key=lambda one: one["event"]["sequence"])["event"]["data"]
            found += [f"{cdr['id']}: {kind(words[-1])} says {name} {data.get(name)!r}, the record "
                      f"{cdr.get(name)!r}" for name in SEALED if data.get(name) != cdr.get(name)]
    return found


def seconds(stamp):
    """Seconds since the epoch of an RFC 3339 stamp."""
    return datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()


def figures(attempts):
    """How many, how often, and how late: from what happened to the answer that took it."""
    delays, verdicts = {}, Counter(one["verdict"] for one in attempts)
    for one in told(attempts):
        if one["verdict"] == "200":
            delays.setdefault(one["id"], one["at"] - seconds(one["event"]["time"]))
    ordered, events = sorted(delays.values()), firsts(attempts)
    return {
        "calls": len(by_call(attempts)), "events": len(events), "attempts": len(attempts),
        "repeats": len(attempts) - len(events),
        "faults": {name: count for name, count in sorted(verdicts.items()) if name != "200"},
        "by_type": dict(sorted(Counter(map(kind, events)).items())),
        "delay_ms": {"p50": round(checks.percentile(ordered, 0.5) * 1000, 1),
                     "p99": round(checks.percentile(ordered, 0.99) * 1000, 1),
                     "max": round(ordered[-1] * 1000, 1) if ordered else 0},
    }
