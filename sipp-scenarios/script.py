"""SIPp scenarios from short scripts: `scripts.txt` says what happens, this says how it is spelt.

A script begins with `@name what it is` and has one step a line:

    > INVITE sdp        sends a request; `sdp` adds a description, `sdp=sendonly` one of that direction
    > INFO dtmf         a digit
    > 200 INVITE sdp    answers the INVITE that came last
    < 200               waits for an answer; before a final one to an INVITE 100, 180 and 183 may come
    < BYE               waits for a request
    pause 300           milliseconds; without a number as long as the row says (-d)

Indented lines belong to the step above: a header to be sent, or of what has come `has` and `lacks` a
regular expression. Who begins with `>` is A, who begins with `<` is B.
"""

import re
from pathlib import Path
from xml.sax.saxutils import quoteattr

SCRIPTS = Path(__file__).with_name("scripts.txt")
REASONS = {"100": "Trying", "180": "Ringing", "183": "Session Progress", "200": "OK",
           "202": "Accepted", "302": "Moved Temporarily", "486": "Busy Here",
           "488": "Not Acceptable Here", "491": "Request Pending", "503": "Service Unavailable"}
EARLY = ("100", "180", "183")
# Who sends and who gets, in From and To: A knows its callee's tag by the answers that it heard, B
# has kept what the INVITE said.
NAMES = {"a": ('"[customer]" <sip:[customer]@[local_ip]>;tag=[pid]a[call_number]',
               "<sip:[service]@[remote_ip]>"),
         "b": ("[$to];tag=[pid]b[call_number]", "[$from]")}
SDP = """Content-Type: application/sdp
Content-Length: [len]

v=0
o={side} 4711 {version} IN IP4 [local_ip]
s=-
c=IN IP4 [local_ip]
t=0 0
m=audio 6000 RTP/AVP 8 101
a=rtpmap:8 PCMA/8000
a=rtpmap:101 telephone-event/8000
a=ptime:20
a={direction}"""
DTMF = """Content-Type: application/dtmf-relay
Content-Length: [len]

Signal=5
Duration=160"""


class Step:
    """One line of a script, with the lines below it."""

    def __init__(self, line):
        self.way, *self.words = line.split()
        self.below = []

    def description(self):
        """The direction of the description that it carries, or None."""
        found = [word.partition("=")[2] for word in self.words if word.split("=")[0] == "sdp"]
        return (found[0] or "sendrecv") if found else None


def scripts(text):
    """All scripts of a text: name to (what it is, steps)."""
    found, steps = {}, None
    for line in text.splitlines():
        if line.startswith("@"):
            name, _, what = line[1:].partition(" ")
            steps = []
            found[name] = (what.strip(), steps)
        elif line.startswith("  "):
            steps[-1].below.append(line.strip())
        elif line and not line.startswith("#"):
            steps.append(Step(line))
    return found


class Writer:
    """Spells one script. `tls`: SIPp speaks TCP with something that makes TLS of it."""

    def __init__(self, name, steps, tls=False):
        self.name, self.steps = name, steps
        self.side = "a" if steps[0].way == ">" else "b"
        self.ours, self.theirs = NAMES[self.side]
        self.via, port = ("TLS", 5061) if tls else ("[transport]", "[local_port]")
        self.at = f"[local_ip]:{port}"
        self.contact = f"<sip:{self.side}@{self.at};transport={self.via.lower()}>"
        self.cseq = self.version = 0
        self.invite = self.asked = None  # the last INVITE sent, and the last request: (step, CSeq)
        self.heard = None  # the last answer that came
        self.up = self.side == "b"  # whether there is a dialog
        self.variables = []

    def xml(self):
        parts = [self.part(at, step) for at, step in enumerate(self.steps)]
        used = f'  <Reference variables="{",".join(self.variables)}"/>\n' if self.variables else ""
        return ('<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE scenario SYSTEM "sipp.dtd">\n'
                f'<scenario name="{self.name}">\n{"".join(parts)}{used}</scenario>\n')

    def part(self, at, step):
        if step.way == "pause":
            span = f' milliseconds="{step.words[0]}"' if step.words else ""
            return f"  <pause{span}/>\n"
        if step.way == "<":
            return self.wait(step)
        answers = step.words[0].isdigit()
        text = self.answer(step) if answers else self.request(at, step)
        # What another message comes back for: SIPp sends it again until then.
        final = answers and step.words[0] not in EARLY and step.words[1] == "INVITE"
        again = ' retrans="500"' if final or not answers and step.words[0] != "ACK" else ""
        return f"  <send{again}>\n    <![CDATA[\n{text}\n    ]]>\n  </send>\n"

    def variable(self, name):
        if name not in self.variables:
            self.variables.append(name)
        return name

    def wait(self, step):
        word, parts = step.words[0], []
        checks = [self.check(line) for line in step.below]
        if word.isdigit():
            self.heard, to_invite = word, self.asked == "INVITE"
            self.up |= word[0] == "2"
            if to_invite:
                for early in EARLY if word >= "200" else EARLY[:1]:
                    parts.append(f'  <recv response="{early}" optional="true"/>\n')
            head = f'recv response="{word}"' + (' rrs="true"' if to_invite else "")
        else:
            head = f'recv request="{word}"' + (' rrs="true"' if word == "INVITE" else "")
            checks += [self.keep(f"{header.lower()}_{word}", header) for header in ("Via", "CSeq")]
            if self.side == "b" and "from" not in self.variables:
                checks += [self.keep(header.lower(), header) for header in ("From", "To")]
        action = f"\n    <action>\n{''.join(checks)}    </action>\n  </recv>" if checks else "</recv>"
        return "".join(parts) + f"  <{head}>{action}\n"

    def keep(self, variable, header):
        return (f'      <ereg regexp=".*" search_in="hdr" header="{header}:" '
                f'assign_to="{self.variable(variable)}"/>\n')

    def check(self, line):
        how, _, regexp = line.partition(" ")
        sign = {"has": "check_it", "lacks": "check_it_inverse"}[how]
        return (f'      <ereg regexp={quoteattr(regexp)} search_in="msg" {sign}="true" '
                f'assign_to="{self.variable("seen")}"/>\n')

    def request(self, at, step):
        method = step.words[0]
        first = method == "INVITE" and not self.up
        target = "sip:[service]@[remote_ip]:[remote_port]" if first else "[next_url]"
        to = self.theirs + ("" if first or self.side == "b" else "[peer_tag_param]")
        branch = at
        if method in ("ACK", "CANCEL"):
            at_invite, cseq, target_of_invite, to_of_invite = self.invite
            # A CANCEL, and the ACK of a refusal, belong to the INVITE's own transaction.
            if method == "CANCEL" or self.heard[0] != "2":
                branch, target = at_invite, target_of_invite
                to = to if method == "ACK" else to_of_invite
        else:
            self.cseq += 1
            cseq, self.asked = self.cseq, method
            if method == "INVITE":
                self.invite = (at, cseq, target, to)
        routes = [] if first else ["[routes]"]
        return self.message(
            step, f"{method} {target} SIP/2.0",
            [f"Via: SIP/2.0/{self.via} {self.at};branch=z9hG4bK[pid]-[call_number]-{branch};rport",
             *routes, "Max-Forwards: 70", f"From: {self.ours}", f"To: {to}", "Call-ID: [call_id]",
             f"CSeq: {cseq} {method}"])

    def answer(self, step):
        code, method = step.words[:2]
        to_a = "[peer_tag_param]" if self.side == "a" else ""
        return self.message(
            step, f"SIP/2.0 {code} {REASONS[code]}",
            [f"Via: [$via_{method}]", f"From: {self.theirs}{to_a}", f"To: {self.ours}",
             "Call-ID: [call_id]", f"CSeq: [$cseq_{method}]"])

    def message(self, step, first, headers):
        own = step.below
        names = {line.split(":")[0] for line in own}
        usual = {"Contact": self.contact, "User-Agent": f"sipp-{self.side}",
                 "Allow": "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, PRACK, INFO, REFER"}
        headers += [f"{name}: {value}" for name, value in usual.items() if name not in names]
        direction = step.description()
        body = DTMF if "dtmf" in step.words else "Content-Length: 0\n"
        if direction:
            self.version += 1
            body = SDP.format(side=self.side, version=self.version, direction=direction)
        return "\n".join([first, *headers, *own, body])


def xml(name, tls=False):
    """The scenario of a script; None where there is no such script."""
    known = scripts(SCRIPTS.read_text())
    return Writer(name, known[name][1], tls).xml() if name in known else None
