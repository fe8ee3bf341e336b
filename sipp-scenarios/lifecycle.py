"""The life of a node: another configuration comes into force under load, and it is drained."""

import json
import signal
import subprocess
import time
import urllib.error
import urllib.request

import checks
import deliveries
from heavy import pair
from node import DID, Node, webhook
from receiver import receiver_in
from sipp import Sipp

OTHER_DID = "+61270100002"
NEW_DID = f'\n[[did]]\nnumber = "{OTHER_DID}"\nstate = "SA"\nowned = true\n'


def reload(where, row, calls=500, rate=50):
    """SIGHUP and the API, six times under load: a number, a webhook, a file that is broken."""
    receiver = receiver_in(where / "reload")
    node = Node(where / "node-reload", [row.line()])
    first = node.config.read_text()
    second = first.replace(f'default = "{DID}"', f'default = "{OTHER_DID}"') + NEW_DID
    second += webhook(receiver, timeout_ms=1000)
    complaints, running, answers = [], [], []
    try:
        receiver.open()
        node.start()
        running += pair(where, row, f"{node.sip}:5060", calls, rate, 2000, log="")
        a, b = running
        for text in (second, first, second):
            time.sleep(1)
            node.config.write_text(text)
            node.process.send_signal(signal.SIGHUP)
        time.sleep(1)
        node.config.write_text(second.replace("[media]", "[medai]"))
        answers.append(post(node))
        node.config.write_text(second.replace("\nmode = ", "\ndscp = 0\nmode = "))
        answers.append(post(node))
        complaints += checks.sipp_went("A", a.wait(calls / rate + 30), a.stat(), calls)
        complaints += checks.sipp_went("B", b.wait(10), b.stat(), calls)
        cdrs = node.cdrs_settled(calls, 10)
        complaints += node.outbox_emptied(20) + judged(answers, node.metrics(), cdrs, calls)
        told = deliveries.by_call(receiver.attempts())
        if not told:
            complaints.append("the webhook that came with a reload was told nothing")
        shown = {did: sum(cdr["did"] == did for cdr in cdrs) for did in (DID, OTHER_DID)}
        return complaints, {"calls": calls, "shown": shown, "told_of": len(told),
                            "refused_with": answers[0][1].get("findings", [])[:1]}
    finally:
        for side in running:
            side.stop()
        node.stop()
        receiver.close()


def drain(where, row, calls=3):
    """SIGTERM with calls up: new ones get 503, those go on to their end, then the node goes with 0."""
    node = Node(where / "node-drain", [row.line()], sip="127.3.0.8", ports="24600-25598")
    running = []
    try:
        node.start()
        a, b = pair(where / "drain", row, f"{node.sip}:5060", calls, 20, 2500, log="short")
        running += [a, b]
        until = time.monotonic() + 10
        while len(checks.answered(b.short())) < calls and time.monotonic() < until:
            time.sleep(0.05)
        node.process.send_signal(signal.SIGTERM)
        late = Sipp("uac_refused", where / "drain", "127.1.20.2", 1, target=f"{node.sip}:5060",
                    service=row.dialled, log="short")
        running.append(late)
        complaints = checks.sipp_went("late", late.wait(20), late.stat(), 1)
        if not any(first.startswith("SIP/2.0 503") for *_, first in late.short()):
            complaints.append(f"the late call heard {late.short()}, wanted 503")
        if node.process.poll() is not None:
            complaints.append("the node did not wait for its calls")
        complaints += checks.sipp_went("A", a.wait(20), a.stat(), calls)
        complaints += checks.sipp_went("B", b.wait(10), b.stat(), calls)
        try:
            if code := node.process.wait(10):
                complaints.append(f"the node ended with {code}")
        except subprocess.TimeoutExpired:
            complaints.append("the node did not end")
        cdrs = node.cdrs()
        complaints += checks.one_cdr_each(cdrs, checks.answered(a.short()))
        complaints += checks.fields_are(cdrs, {"outcome": "connected", "sip_final": 200})
        if len(cdrs) != calls:
            complaints.append(f"{len(cdrs)} records, wanted {calls}")
        return complaints, {"calls": calls}
    finally:
        for side in running:
            side.stop()
        node.stop()


def post(node):
    request = urllib.request.Request(f"http://127.0.0.1:{node.admin}/v1/reload", method="POST")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as refused:
        return refused.code, json.loads(refused.read())


def judged(answers, metrics, cdrs, calls):
    complaints = []
    (broken, why), (loaded, said) = answers
    if broken != 422 or not any("medai" in finding for finding in why.get("findings", [])):
        complaints.append(f"a broken configuration was answered {broken}: {why}")
    if loaded != 200 or said.get("revision") != 5 or said.get("needs_restart") != ["media.dscp"]:
        complaints.append(f"the last reload was answered {loaded}: {said}")
    for series, wanted in (("cooee_config_revision", 5),
                           ('cooee_config_reloads_total{result="loaded"}', 4),
                           ('cooee_config_reloads_total{result="refused"}', 1)):
        if metrics.get(series) != wanted:
            complaints.append(f"{series} is {metrics.get(series)}, wanted {wanted}")
    if len(cdrs) != calls:
        complaints.append(f"{len(cdrs)} records, wanted {calls}")
    shown = {cdr["did"] for cdr in cdrs}
    if shown != {DID, OTHER_DID}:
        complaints.append(f"customers were shown {shown}")
    # Each kept the number that it began with: A's and B's view of one call are one record.
    wrong = [cdr["id"] for cdr in cdrs if cdr["outcome"] != "connected"]
    if wrong:
        complaints.append(f"{len(wrong)} calls did not come out as connected: {wrong[:3]}")
    return complaints
