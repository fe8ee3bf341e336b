"""The row `reload`: another configuration comes into force under load, and no call notices."""

import json
import signal
import time
import urllib.error
import urllib.request

import checks
import deliveries
from heavy import pair
from node import DID, Node, webhook
from receiver import receiver_in

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
