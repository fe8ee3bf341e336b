"""The row `hooks`: a portal tells by HTTP when an agent answered, late, in any order, twice.

Each call is one of a kind of story. The portal posts whole seconds; the row knows the true moment
of each answer, so that the record can be held against it.
"""

import csv
import http.client
import json
import time
import urllib.parse

import checks
import deliveries
from node import Node, webhook
from receiver import receiver_in
from sipp import Sipp

HOOKS = ("127.4.0.2", 8061)
TOKEN = "a-token-that-nobody-guesses-0123"
LINE = "sip77"
AGENT = "42"
SETTLE_S = 4
# How many calls of each story.
STORIES = {
    "answered": 8,       # INIT and START while the call is up, END after it
    "out_of_order": 4,   # START before INIT
    "told_after": 4,     # all three only after the BYE, in time
    "nobody_came": 2,    # END says that no agent answered
    "told_too_late": 2,  # START only after the call was settled
}
CONNECTED = {"outcome": "connected", "t_agent_src": "b24_event", "agent": AGENT}
UNKNOWN = {"outcome": "unknown_agent", "t_agent_src": "none", "t_agent_us": None}
WANTED = {"answered": CONNECTED, "out_of_order": CONNECTED, "told_after": CONNECTED,
          "nobody_came": {**UNKNOWN, "outcome": "abandoned"}, "told_too_late": UNKNOWN}


class Portal:
    """Posts events as Bitrix24 does: a form with brackets, a connection each."""

    def __init__(self):
        self.spans, self.sent, self.wrong = [], 0, []

    def post(self, body, wanted=200):
        if isinstance(body, dict):
            body = urllib.parse.urlencode(body)
        began = time.monotonic()
        wire = http.client.HTTPConnection(*HOOKS, timeout=10)
        try:
            wire.request("POST", "/hooks/bitrix24", body,
                         {"Content-Type": "application/x-www-form-urlencoded"})
            status = wire.getresponse().status
        finally:
            wire.close()
        self.spans.append(time.monotonic() - began)
        if status != wanted:
            self.wrong.append(f"{body[:60]}: answered {status}, wanted {wanted}")

    def event(self, name, call, ts, wanted=200, token=TOKEN, **data):
        fields = {"event": f"ONVOXIMPLANTCALL{name}", "event_handler_id": "31",
                  **{f"data[{key}]": value for key, value in {"CALL_ID": call, **data}.items()},
                  "ts": str(int(ts)), "auth[domain]": "acme.bitrix24.com",
                  "auth[application_token]": token}
        self.post(fields, wanted)

    def init(self, story, ts):
        self.event("INIT", story.portal_id, ts, CALL_TYPE="2", ACCOUNT_SEARCH_ID=LINE,
                   PHONE_NUMBER="61270100001", CALLER_ID=story.customer)

    def start(self, story, ts, **more):
        self.event("START", story.portal_id, ts, USER_ID=AGENT, **more)

    def end(self, story, ts, code="200", user=AGENT):
        self.event("END", story.portal_id, ts, CALL_TYPE="2", PHONE_NUMBER=story.customer,
                   PORTAL_NUMBER=LINE, PORTAL_USER_ID=user, CALL_DURATION="3",
                   CALL_FAILED_CODE=code)


class Story:
    """One call, as it is to be told."""

    def __init__(self, kind, number):
        self.kind, self.customer = kind, f"614915701{56 + number:02}"
        self.portal_id = f"1A2B3C4D5E6F70{number:02}.{int(time.time())}.{9000000 + number}"
        self.answered = None


def hooks(where, row):
    """Every story comes out as it was told; what is forged, broken or late changes nothing."""
    kinds = [kind for kind, count in STORIES.items() for _ in range(count)]
    stories = [Story(kind, number) for number, kind in enumerate(kinds)]
    receiver = receiver_in(where / "hooks")
    line = {**row.line(), "portal_line": LINE, "answer_source": "auto"}
    portal_section = (f'\n[[portal]]\nid = "acme"\nactive = true\napplication_token = "{TOKEN}"\n'
                      f"settle_s = {SETTLE_S}\n")
    node = Node(where / "node-hooks", [line], hooks="{}:{}".format(*HOOKS),
                more=portal_section + webhook(receiver, timeout_ms=1000))
    numbers = where / "hooks" / "customers.csv"
    with open(numbers, "w", newline="") as file:
        file.write("SEQUENTIAL\n")
        csv.writer(file, delimiter=";").writerows([one.customer, row.dialled, ""] for one in stories)
    portal, running = Portal(), []
    try:
        receiver.open()
        node.start()
        b = Sipp(row.b, where / "hooks", row.callee, len(stories), log="")
        running.append(b)
        a = Sipp(row.a, where / "hooks", row.caller, len(stories), target=f"{node.sip}:5060",
                 rate=40, hold_ms=4000, numbers=numbers, log="")
        running.append(a)
        complaints = tell(portal, stories, node, a)
        complaints += checks.sipp_went("B", b.wait(10), b.stat(), len(stories)) + portal.wrong
        cdrs = node.cdrs_settled(len(stories), 10)
        complaints += node.outbox_emptied(20) + came_true(stories, cdrs)
        attempts = receiver.attempts()
        complaints += deliveries.judged(attempts, cdrs) + heard(node)
        spans = sorted(portal.spans)
        figures = {"calls": len(stories), "posts": len(spans), "results": results(node),
                   "answer_ms": {"p50": round(checks.percentile(spans, 0.5) * 1000, 2),
                                 "p99": round(checks.percentile(spans, 0.99) * 1000, 2)},
                   "answer_off_ms": off_ms(stories, cdrs), **deliveries.figures(attempts)}
        return complaints, figures
    finally:
        for side in running:
            side.stop()
        node.stop()
        receiver.close()


def tell(portal, stories, node, a):
    """The portal's side of it, in the order of time."""
    of = {kind: [one for one in stories if one.kind == kind] for kind in STORIES}
    if complaint := all_up(node, len(stories)):
        return [complaint]
    began = time.time()
    for story in stories:
        if story.kind not in ("out_of_order", "told_after"):
            portal.init(story, began)
    time.sleep(1.3)
    for story in of["answered"] + of["out_of_order"] + of["told_after"]:
        story.answered = time.time()
        if story.kind != "told_after":
            portal.start(story, story.answered)
    for story in of["out_of_order"]:
        portal.init(story, began)
    portal.init(of["answered"][0], began)
    portal.start(of["answered"][0], began + 3)
    complaints = checks.sipp_went("A", a.wait(30), a.stat(), len(stories))
    ended = time.time()
    for story in of["told_after"]:
        portal.init(story, began)
        portal.start(story, story.answered)
    for story in of["answered"] + of["out_of_order"] + of["told_after"]:
        portal.end(story, ended)
    for story in of["nobody_came"]:
        portal.end(story, ended, code="304", user="")
    nonsense(portal, of["told_too_late"][0], of["answered"][0])
    time.sleep(SETTLE_S + 1)
    for story in of["told_too_late"]:
        portal.start(story, ended)
        portal.end(story, ended)
    return complaints


def nonsense(portal, story, told):
    """What must change nothing, posted while `story` may still be changed."""
    now = time.time()
    portal.start(story, now, token=TOKEN[:-1] + "4", wanted=403)
    portal.start(story, now, token="", wanted=403)
    for body in ("", "event=ONVOXIMPLANTCALLSTART", "%%%", "event=ONVOXIMPLANTCALLSTART&"
                 f"data[CALL_ID]={story.portal_id}&data[USER_ID]={AGENT}&ts=soon"):
        portal.post(body + f"&auth[application_token]={TOKEN}", 400)
    portal.start(told, now)
    portal.end(told, now, code="304", user="")
    portal.event("INIT", "FFFF.1.1", now, CALL_TYPE="2", ACCOUNT_SEARCH_ID=LINE,
                 PHONE_NUMBER="61270100001", CALLER_ID="61499999999")
    portal.post({"event": "ONCRMLEADADD", "data[FIELDS][ID]": "1", "ts": str(int(now)),
                 "auth[application_token]": TOKEN})


def all_up(node, calls):
    """Waits until every call has the platform's answer; a complaint if that does not come."""
    until = time.monotonic() + 3
    while time.monotonic() < until:
        up = json.loads(node.get("/v1/calls"))["up"]
        if sum(call["answered_us"] is not None for call in up) == calls:
            return None
        time.sleep(0.05)
    return f"{len(up)} calls up, wanted {calls}"


def by_customer(cdrs):
    return {cdr["customer"].lstrip("+"): cdr for cdr in cdrs if cdr.get("customer")}


def came_true(stories, cdrs):
    """Each record says what its story told, its answer within the error that it admits."""
    found, records = [], by_customer(cdrs)
    for story in stories:
        cdr = records.get(story.customer)
        if cdr is None:
            found.append(f"{story.kind}: no record of {story.customer}")
            continue
        wanted = {**WANTED[story.kind], "portal_call_id": story.portal_id}
        found += [f"{story.kind}: {one}" for one in checks.fields_are([cdr], wanted)]
        if story.answered and cdr["t_agent_us"] is not None:
            off = abs(cdr["t_agent_us"] / 1000 - story.answered * 1000)
            if off > cdr["t_agent_err_ms"]:
                found.append(f"{cdr['id']}: the answer is {off:.0f} ms off, the record admits "
                             f"{cdr['t_agent_err_ms']}")
    return found


def off_ms(stories, cdrs):
    """How far the recorded answers are from the true ones, and what they admit."""
    records, off = by_customer(cdrs), []
    for story in stories:
        cdr = records.get(story.customer, {})
        if story.answered and cdr.get("t_agent_us") is not None:
            off.append((abs(round(cdr["t_agent_us"] / 1000 - story.answered * 1000)),
                        cdr["t_agent_err_ms"]))
    return {"max": max((one for one, _ in off), default=None),
            "admitted": max((err for _, err in off), default=None)}


def results(node):
    """`cooee_portal_events_total` by result."""
    start = 'cooee_portal_events_total{result="'
    return {name.removeprefix(start).removesuffix('"}'): int(count)
            for name, count in node.metrics().items() if name.startswith(start) and count}


def heard(node):
    """The counters agree with what was posted."""
    wanted = {"forged": 2, "malformed": 4, "repeated": 2, "late": 6, "early": 4, "unmatched": 1,
              "ignored": 1}
    seen = results(node)
    return [f"portal events {name}: {seen.get(name, 0)} counted, wanted {count}"
            for name, count in wanted.items() if seen.get(name, 0) != count]
