#!/usr/bin/env python3
"""The rows of the SIPp suite: which scenarios meet, and what must hold afterwards. See run.sh."""

import argparse
import json
import shutil
import socket
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import checks
import media_check
import report
from callbacks import callbacks, cost, outbox
from corpora import corpora
from heavy import capture, chaos, load
from hooks import hooks
from hostile import flood, torture
from lifecycle import drain, reload
from node import DID, REPOSITORY, SIP, Node
from shedding import overload
from sipp import Sipp, header
from survive import survive
from table import AGENT, ROWS, Row, failure
from tls import papers, stunnel

MEDIA = Row("media", 15, "", "")
LOAD = Row("load", 20, "uac_load", "uas_load", role="customer-leg")
LOAD_MEDIA = Row("load_media", 24, "uac_basic", "uas_basic")
ENDS_B = Row("ends_b", 38, "uac_b_hangs_up", "uas_b_hangs_up")
OVERLOAD = Row("overload", 46, "", "")
TIMER = Row("timer", 30, "uac_refused", None, 2, 2, codes=(408, 503, 504),
            cdr={"outcome": failure}, silent=True)

LINES = Row("lines", 31, "", "uas_registrar")
HOOKS = Row("hooks", 34, "uac_load", "uas_load", **AGENT)

# How many rows run at a time: they mostly wait.
AT_A_TIME = 8
RETRY = """
[retry]
no_response_s = 2
redirect_allow = ["127.2.0.0/16"]
"""

# Rows with a node of their own, in the order in which they run.
ALONE = {
    "timer": lambda where, given: run_timer(where),
    "lines": lambda where, given: run_lines(where),
    "drain": lambda where, given: drain(where, LOAD),
    "hooks": lambda where, given: hooks(where, HOOKS),
    "outbox": lambda where, given: outbox(where, LOAD),
    "reload": lambda where, given: reload(where, LOAD),
    "torture": lambda where, given: torture(where),
    "corpora": lambda where, given: corpora(where),
    "flood": lambda where, given: flood(where, LOAD, given.seconds),
    "overload": lambda where, given: overload(where, OVERLOAD),
    "load": lambda where, given: load(where, LOAD, LOAD_MEDIA, given.calls, given.rate),
    "callbacks": lambda where, given: callbacks(where, LOAD, LOAD_MEDIA, given.calls, given.rate,
                                                given.seed),
    "capture": lambda where, given: capture(where, LOAD),
    "chaos": lambda where, given: chaos(where, LOAD, given.times, given.seed),
    "survive": lambda where, given: survive(where, LOAD, ENDS_B),
    "callbacks-cost": lambda where, given: cost(where, LOAD, given.pairs),
}
# Of those and `media`: the flows, and what they show.
NAMED = {
    "media": ((50,), "RTP and RTCP both ways, its times and what is lost"),
    "timer": ((11,), "a trunk that swallows everything"),
    "lines": ((), "lines that register with a registrar that asks for digest"),
    "drain": ((99,), "SIGTERM with calls up: they end as they like, new ones get 503"),
    "hooks": ((), "a portal's word on who answered"),
    "outbox": ((), "webhooks that wait"),
    "reload": ((), "another configuration under load"),
    "torture": ((77, 91), "the cases of tests/torture over UDP"),
    "corpora": ((74, 77), "published torture and malformed messages over UDP and TCP"),
    "flood": ((), "a stranger's flood beside calls"),
    "overload": ((98,), "five times the calls a second that the node takes"),
    "load": ((1,), "1,000 calls, media on a tenth"),
    "callbacks": ((), "webhooks through faults of their receiver"),
    "capture": ((1,), "the CDR's times against the kernel's"),
    "chaos": ((), "kill -9 under load"),
    "survive": ((), "kill -9 while a hundred calls talk"),
    "callbacks-cost": ((), "what a receiver that hangs costs an INVITE"),
}
SLOW = {"reload", "corpora", "flood", "overload", "load", "callbacks", "capture", "chaos",
        "survive"}
# A measurement to look at, not a condition: it runs only where it is named.
ASKED_FOR = {"callbacks-cost"}


def run_row(row, where, node):
    """Runs one row; gives (complaints, figures). Without a node A calls B directly."""
    b_scenario = row.b or ("uas_options" if node is None and row.a == "uac_options" else None)
    if node is None and (b_scenario is None or row.needs_node):
        return [], {"skipped": "needs a node"}
    where = where / row.name
    with ExitStack() as running:
        if row.silent:
            running.enter_context(silence(row.callee))
        first = called_first(row, where, running)
        b = side(running, b_scenario, where, row.callee, row.calls, by=row.by[1]) \
            if b_scenario else None
        target = f"{node.sip}:5060" if node else f"{row.callee}:5060"
        if row.by[1] == "tls":
            running.enter_context(stunnel(where, node.papers, f"{row.callee}:5061", f"{row.callee}:5060"))
        if row.by[0] == "tls":
            target = f"{row.other}:5061"
            running.enter_context(stunnel(where, node.papers, target, f"{node.sip}:5061", row.caller))
        a = side(running, row.a, where, row.caller, row.calls, target=target, rate=row.rate,
                 hold_ms=row.hold_ms, service=row.dialled, log="msg short", by=row.by[0])
        # The callee may end a moment later; both have a time-out of their own.
        complaints = went("A", a, row.calls, 70)
        for name, other in (("B", b), ("first", first)):
            complaints += went(name, other, row.calls, 10) if other else []
        complaints += codes_complaints(row, a, node) + delay_complaints(row, a)
        figures = {"calls": row.calls, "a": a.stat(), "b": b.stat() if b else None}
        if node and row.cdr is not None:
            complaints += cdr_complaints(row, node, a, [b, first], figures)
        return complaints, figures


def side(running, *words, **more):
    """A SIPp that stops with the row."""
    sipp = Sipp(*words, **more)
    running.callback(sipp.stop)
    return sipp


def silence(address):
    """A socket that nobody reads."""
    end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    end.bind((address, 5060))
    return end


def called_first(row, where, running):
    """Who is called before B, if there is somebody that speaks."""
    if row.first == "silent":
        running.enter_context(silence(row.other))
    if row.first in (None, "silent"):
        return None
    return side(running, row.first, where, row.other, row.calls, extra=["-key", "b", row.callee])


def went(name, sipp, calls, seconds):
    """How a side went, with its own words where it did not go well."""
    complaints = checks.sipp_went(f"{name} {sipp.scenario}", sipp.wait(seconds), sipp.stat(), calls)
    return [*complaints, f"{name} said: {sipp.errors()}"] if complaints else []


def codes_complaints(row, a, node):
    """A heard the final code that the row wants, once per call."""
    finals = {}
    for sent, call_id, cseq, first in a.short():
        if not sent and "INVITE" in cseq and first.startswith("SIP/2.0 ") and first[8] != "1":
            finals.setdefault(call_id, int(first[8:11]))
    if row.a in ("uac_options",) or (node is None and row.a == "uac_cancel_race"):
        return []
    wrong = {call_id: code for call_id, code in finals.items() if code not in row.codes}
    if len(finals) == row.calls and not wrong:
        return []
    return [f"A heard {wrong or finals}, wanted {row.codes} for {row.calls} calls"]


def delay_complaints(row, a):
    """A heard its final code as soon as the row wants."""
    if row.within_s is None:
        return []
    begun, took = {}, {}
    for sent, clock, text in a.messages():
        call_id = header(text, "Call-ID")
        if sent:
            begun.setdefault(call_id, clock)
        elif not text.startswith("SIP/2.0 1"):
            took.setdefault(call_id, clock - begun[call_id])
    slow = {call_id: f"{s:.3f} s" for call_id, s in took.items() if s >= row.within_s}
    return [f"A was told after {slow}, wanted {row.within_s} s"] if slow or not took else []


def cdr_complaints(row, node, a, called, figures):
    calls = {header(text, "Call-ID") for sent, _, text in a.messages()
             if sent and text.startswith("INVITE ")}
    cdrs = records_of(node, calls)
    complaints = checks.one_cdr_each(cdrs, calls) + checks.fields_are(cdrs, row.cdr)
    if row.b_results:
        complaints += checks.b_results_are(cdrs, row.b_results)
    b, *others = [[text for sent, _, text in sipp.messages()
                   if not sent and text.startswith("INVITE ")] if sipp else [] for sipp in called]
    if b and row.first != "silent":
        seen = {header(text, "Call-ID") for text in sum(others, b)}
        complaints += checks.legs_are_apart(cdrs, seen)
    if b:
        complaints += identity_complaints(row, a, b[0], figures)
        complaints += checks.spoken_by([by.split("-")[0] for by in row.by], a.messages(), b[0])
    figures["times"] = [report.times(cdr) for cdr in cdrs]
    return complaints


def identity_complaints(row, a, offered, figures):
    """B is shown what the route says, and nothing of A."""
    invite = next(text for sent, _, text in a.messages() if sent)
    hidden = [header(invite, "Call-ID"), header(invite, "User-Agent")]
    if row.profile != "transparent":  # which keeps A's own words, its host among them
        hidden.append(row.caller)
    complaints = checks.nothing_of_a_on_b(invite, offered, hidden)
    figures["identity"] = report.identity(invite, offered)
    if row.role == "customer-leg":
        number = DID.lstrip("+")
        if number not in header(offered, "From"):
            complaints.append(f"B's From does not show {number}: {header(offered, 'From')}")
        if "61491570156" in offered:
            complaints.append("B's INVITE of a customer-leg shows the original caller")
    return complaints


def records_of(node, calls, seconds=10):
    """The records of these A Call-IDs, once there is one for each or the time is over."""
    until = time.monotonic() + seconds
    while True:
        records = checks.by_a_call_id(node.cdrs())
        found = [cdr for call_id in sorted(calls) for cdr in records[call_id]]
        if len(found) >= len(calls) or time.monotonic() > until:
            return found
        time.sleep(0.05)


def run_media(row, node, seconds):
    target = (node.sip, 5060) if node else (row.callee, 5060)
    complaints, figures = media_check.call(target, row.caller, row.callee, row.dialled, seconds)
    if node and "a_call_id" in figures:
        cdrs = records_of(node, {figures["a_call_id"]})
        complaints += checks.one_cdr_each(cdrs, {figures["a_call_id"]})
        complaints += checks.fields_are(cdrs, {"t_bridge_us": lambda at: isinstance(at, int)})
    return complaints, figures


def run_timer(where):
    """A trunk that swallows everything: Timer B (64 x T1) ends the INVITE, not the caller's patience."""
    node = Node(where / "node-timer", [TIMER.line()], sip="127.3.0.2", t1_ms=50, ports="20000-20198")
    try:
        node.start()
        return run_row(TIMER, where, node)
    finally:
        node.stop()


def run_lines(where):
    """Three lines register with a registrar that asks for digest; each contact is ours."""
    node = Node(where / "node-lines", [LINES.line()], sip="127.3.0.3", ports="20200-20398")
    with open(node.config, "a") as config:
        config.write(f"""
[[trunk]]
name = "lines"
profile = "unitalk-lines"
peers = ["udp:{LINES.callee}:5060"]
lines = "2000:one\\n2001:two\\n2002:three"
""")
    registrar = Sipp("uas_registrar", where / "lines", LINES.callee, 3, log="msg")
    try:
        node.start()
        complaints = checks.sipp_went("registrar", registrar.wait(30), registrar.stat(), 3)
        if complaints:
            complaints.append(f"the registrar said: {registrar.errors()}")
        return complaints, {"lines": registrar.stat()}
    finally:
        registrar.stop()
        node.stop()


class Suite:
    """Runs rows, prints each as it ends, and remembers what failed."""

    def __init__(self, where, quiet):
        self.where, self.quiet, self.results = where, quiet, []

    def say(self, *words):
        if not self.quiet:
            print(*words, flush=True)

    def run(self, name, work):
        began = time.monotonic()
        try:
            complaints, figures = work()
        except Exception as error:  # a broken row must not hide the others
            complaints, figures = [f"{error}", traceback.format_exc()], {}
        seconds = time.monotonic() - began
        self.results.append({"row": name, "ok": not complaints, "seconds": round(seconds, 2),
                             "complaints": complaints, "figures": figures})
        mark = "FAILED" if complaints else f"skipped: {figures['skipped']}" \
            if "skipped" in figures else "ok"
        self.say(f"{name:12} {seconds:6.1f} s  {mark}")
        for complaint in complaints[:20]:
            self.say(f"    {complaint}")
        return figures


def plain_node(where, lines):
    """The node of the functional rows: by every transport, with a profile of short sessions."""
    node = Node(where / "node", lines, tcp=True, more=RETRY,
                papers=papers(where / "papers", SIP, *(row.callee for row in ROWS)))
    brisk = (REPOSITORY / "sip-profiles/generic-ip-trunk.toml").read_text()
    brisk = brisk.replace('"generic-ip-trunk"', '"brisk"').replace(
        "[behaviour]\n", '[behaviour]\nsession_timer = { mode = "prefer", expires = 4, min_se = 4 }\n')
    (node.where / "sip-profiles").mkdir()
    (node.where / "sip-profiles/brisk.toml").write_text(brisk)
    return node


def run_plain(suite, rows, media, direct, media_s):
    """The functional rows, some at a time, against one node."""
    lines = [row.line() for row in ROWS] + [MEDIA.line()]
    node = None if direct else plain_node(suite.where, lines)
    try:
        if node:
            suite.say(f"ready after {node.start():.2f} s")
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            jobs = [pool.submit(suite.run, row.name, lambda row=row: run_row(row, suite.where, node))
                    for row in rows]
            if media:
                jobs.append(pool.submit(suite.run, "media", lambda: run_media(MEDIA, node, media_s)))
            for job in jobs:
                job.result()
        if node:
            suite.run("latency", lambda: latency_row(node, rows))
            suite.run("exit", lambda: ([] if node.stop() else ["SIGTERM: no clean exit"], {}))
    finally:
        if node:
            node.stop()


def latency_row(node, rows):
    offered = sum(row.calls for row in rows if row.b)
    latency = node.latency()
    return checks.latency_counted(latency, "invite_forward", offered), {"latency": latency}


def main():
    given = arguments()
    names = [row.name for row in ROWS] + ["media", *ALONE]
    if given.list:
        list_rows(names)
        return 0
    wanted = set(given.rows or ["smoke"])
    if "all" in wanted:
        wanted |= set(names) - ASKED_FOR
    if "smoke" in wanted:
        wanted |= set(names) - ASKED_FOR - SLOW
    if unknown := wanted - set(names) - {"all", "smoke"}:
        print(f"no such row: {', '.join(sorted(unknown))}; --list names them", file=sys.stderr)
        return 2
    where = Path(tempfile.mkdtemp(prefix="cooee-sipp-"))
    suite = Suite(where, given.json)
    try:
        run_wanted(suite, wanted, given)
    finally:
        if given.keep:
            print(f"logs: {where}", file=sys.stderr)
        else:
            shutil.rmtree(where, ignore_errors=True)
    failed = [result["row"] for result in suite.results if not result["ok"]]
    if given.json:
        print(json.dumps({"ok": not failed, "rows": suite.results}, indent=2))
    else:
        report.show(suite.results)
        print("FAILED: " + ", ".join(failed) if failed else "all rows passed")
    return 1 if failed else 0


def list_rows(names):
    """Each row, with the flows that it repeats on real wires and what it shows."""
    plain = {row.name: (row.flows, row.what) for row in ROWS}
    for name in names:
        flows, what = plain.get(name) or NAMED.get(name, ((), ""))
        shown = "flows " + ", ".join(map(str, flows)) if flows else ""
        print(f"{name:15} {shown:22} {what}".rstrip())


def run_wanted(suite, wanted, given):
    rows = [row for row in ROWS if row.name in wanted]
    if rows or "media" in wanted:
        run_plain(suite, rows, "media" in wanted, given.direct, given.media_s)
    if given.direct:
        return
    for name, run in ALONE.items():
        if name in wanted:
            suite.run(name, lambda run=run: run(suite.where, given))


def arguments():
    parser = argparse.ArgumentParser(prog="run.sh", description="SIPp on both sides of a fresh node")
    parser.add_argument("rows", nargs="*", help="smoke, all, or single rows")
    parser.add_argument("--json", action="store_true", help="figures as JSON on standard output")
    parser.add_argument("--direct", action="store_true", help="no node: A calls B")
    parser.add_argument("--keep", action="store_true", help="keep the logs and say where")
    parser.add_argument("--list", action="store_true", help="name the rows")
    parser.add_argument("--times", type=int, default=3, help="chaos: how many crashes")
    parser.add_argument("--seed", type=int, default=None, help="chaos, callbacks: repeat a run")
    parser.add_argument("--calls", type=int, default=1000,
                        help="load, callbacks: how many calls")
    parser.add_argument("--rate", type=int, default=50,
                        help="load, callbacks: calls a second")
    parser.add_argument("--pairs", type=int, default=7, help="callbacks-cost: pairs of runs")
    parser.add_argument("--seconds", type=int, default=6, help="flood: how long")
    parser.add_argument("--media-s", type=float, default=5, help="media: seconds of audio")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
