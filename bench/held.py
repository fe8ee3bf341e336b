"""Calls that stay up: a caller and a callee that set them up through a node and learn from the SDP
where each side's voice goes."""

import re
import socket
import time

PATIENCE_S = 0.5  # then a request is sent again
TRIES = 20


class Held:
    """Caller and callee on loopback; `media` is the (caller's, callee's) address of all voice."""

    def __init__(self, target, caller, callee, media, prefix):
        self.target, self.media, self.prefix = (target, 5060), media, prefix
        self.a, self.b = listen(caller), listen(callee)
        self.run = f"{time.time_ns():x}"
        self.up = []  # what a BYE needs: (number, Contact, To) as the 200 told them

    def grow(self, calls):
        """Sets up calls until so many are up; gives the new ones' flows."""
        flows = []
        while len(self.up) < calls:
            flows.append(self.call(len(self.up)))
        return flows

    def call(self, n):
        """INVITE, 200, ACK on both sides."""
        number = f"{self.prefix}{n:06}"
        uri = f"sip:{number}@{self.target[0]}"
        invite = self.request("INVITE", n, uri, f"<{uri}>", 1, sdp(*self.media[0]))
        offer = ask(self.a, self.target, invite, self.b,
                    lambda text: re.match(rf"INVITE sips?:\+?{number}@", text))
        reply(self.b, offer, sdp(*self.media[1]))
        ok = ask(self.a, self.target, None, self.a,
                 lambda text: self.final(text, n, "1 INVITE"))
        if not ok.startswith("SIP/2.0 200"):
            raise RuntimeError(f"call {n} was refused: {ok.splitlines()[0]}")
        contact = re.search(r"<([^>]+)>", header(ok, "Contact")).group(1)
        self.up.append((n, contact, header(ok, "To")))
        ack = self.request("ACK", n, contact, header(ok, "To"), 1)
        call_id = header(offer, "Call-ID")
        ask(self.a, self.target, ack, self.b,
            lambda text: text.startswith("ACK ") and header(text, "Call-ID") == call_id)
        caller, callee = ("%s:%d" % end for end in self.media)
        return {"a": {"src": caller, "dst": voice(ok)}, "b": {"src": callee, "dst": voice(offer)}}

    def hang_up(self):
        """Ends all calls, the caller first."""
        for n, contact, to in self.up:
            bye = self.request("BYE", n, contact, to, 2)
            theirs = ask(self.a, self.target, bye, self.b, lambda text: text.startswith("BYE "))
            reply(self.b, theirs)
            ask(self.a, self.target, None, self.a, lambda text: self.final(text, n, "2 BYE"))
        self.up = []

    def request(self, method, n, uri, to, cseq, body=""):
        ip, port = self.a.getsockname()
        kind = "Content-Type: application/sdp\r\n" if body else ""
        return (f"{method} {uri} SIP/2.0\r\n"
                f"Via: SIP/2.0/UDP {ip}:{port};branch=z9hG4bK{self.run}{n}{method}\r\n"
                "Max-Forwards: 70\r\n"
                f"From: <sip:61491570156@{ip}>;tag=a{n}\r\nTo: {to}\r\n"
                f"Call-ID: {self.run}-{n}@{ip}\r\nCSeq: {cseq} {method}\r\n"
                f"Contact: <sip:61491570156@{ip}:{port}>\r\n"
                f"{kind}Content-Length: {len(body)}\r\n\r\n{body}")

    def final(self, text, n, cseq):
        return (re.match(r"SIP/2\.0 [2-6]", text) and header(text, "CSeq") == cseq
                and header(text, "Call-ID").startswith(f"{self.run}-{n}@"))

    def close(self):
        self.a.close()
        self.b.close()


def listen(ip):
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.bind((ip, 5060))
    opened.settimeout(PATIENCE_S)
    return opened


def ask(sender, target, message, receiver, wanted):
    """Sends until what is wanted comes. What comes besides is an echo of an earlier step."""
    for _ in range(TRIES):
        if message:
            sender.sendto(message.encode(), target)
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            try:
                text = receiver.recv(65535).decode("utf-8", "replace")
            except TimeoutError:
                break
            if wanted(text):
                return text
    said = message.splitlines()[0] if message else "what was sent before"
    raise RuntimeError(f"nothing came of `{said}`")


def reply(opened, request, body=""):
    """200 to a request; a tag is added where there is none."""
    ip, port = opened.getsockname()
    to = header(request, "To")
    to += "" if ";tag=" in to else ";tag=b"
    vias = "".join(f"Via: {via}\r\n" for via in headers(request, "Via"))
    kind = "Content-Type: application/sdp\r\n" if body else ""
    text = (f"SIP/2.0 200 OK\r\n{vias}From: {header(request, 'From')}\r\nTo: {to}\r\n"
            f"Call-ID: {header(request, 'Call-ID')}\r\nCSeq: {header(request, 'CSeq')}\r\n"
            f"Contact: <sip:b@{ip}:{port}>\r\n{kind}Content-Length: {len(body)}\r\n\r\n{body}")
    ip, port = re.match(r"SIP/2\.0/UDP ([\d.]+):?(\d*)", headers(request, "Via")[0]).groups()
    opened.sendto(text.encode(), (ip, int(port or 5060)))


def headers(text, name):
    return re.findall(rf"(?im)^{re.escape(name)}[ \t]*:[ \t]*(.*?)[ \t\r]*$", text)


def header(text, name):
    return (headers(text, name) or [""])[0]


def sdp(ip, port):
    """G.711 with DTMF, 20 ms."""
    return (f"v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n"
            f"m=audio {port} RTP/AVP 8 101\r\na=rtpmap:8 PCMA/8000\r\n"
            "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n")


def voice(text):
    """Where a message's SDP wants voice."""
    ip = re.search(r"(?m)^c=IN IP4 (\S+)", text).group(1)
    port = re.search(r"(?m)^m=audio (\d+)", text).group(1)
    return f"{ip}:{port}"
