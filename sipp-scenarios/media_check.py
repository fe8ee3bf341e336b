#!/usr/bin/env python3
"""One call with two media endpoints of its own: every PCMA byte sent must arrive, both ways.

It is a caller and a callee in one process, so that what went in and what came out can be compared
byte by byte without a capture. B answers with early media (183 with SDP) and only later with 200:
audio must pass before the answer too.

  media_check.py --target 127.3.0.1:5060 --a 127.1.15.1 --b 127.2.15.1 --number 61255501500
"""

import argparse
import hashlib
import json
import re
import select
import socket
import struct
import sys
import threading
import time

PACKET_S = 0.02
PAYLOAD = 160


def payload(side, number):
    """The audio of one packet: differs between sides and packets, so that no mix-up passes."""
    seed = hashlib.sha256(f"{side}{number}".encode()).digest()
    return (seed * 5)[:PAYLOAD]


class Endpoint:
    """An RTP socket that sends PCMA every 20 ms and keeps what it receives, in order."""

    def __init__(self, side, address):
        self.side, self.sent, self.received, self.foreign = side, [], [], 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 0))
        self.port = self.socket.getsockname()[1]
        self.peer = None

    def sdp(self):
        address = self.socket.getsockname()[0]
        return (f"v=0\r\no={self.side} 4711 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\n"
                f"t=0 0\r\nm=audio {self.port} RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n"
                "a=ptime:20\r\na=sendrecv\r\n")

    def learn(self, sdp):
        """Takes where to send from the other side's SDP."""
        address = re.search(r"(?m)^c=IN IP4 ([0-9.]+)", sdp)
        port = re.search(r"(?m)^m=audio (\d+) ", sdp)
        if address and port:
            self.peer = (address.group(1), int(port.group(1)))

    def send(self):
        number = len(self.sent)
        audio = payload(self.side, number)
        head = struct.pack("!BBHII", 0x80, 8 | (0x80 if number == 0 else 0), number & 0xFFFF,
                           number * PAYLOAD & 0xFFFFFFFF, 0xA0000000 + ord(self.side))
        self.socket.sendto(head + audio, self.peer)
        self.sent.append(audio)

    def receive(self):
        packet, source = self.socket.recvfrom(2048)
        if source != self.peer or len(packet) < 12:
            self.foreign += 1
            return
        self.received.append(packet[12:])


class Stream(threading.Thread):
    """Moves the media of both endpoints until told to stop sending, then drains."""

    def __init__(self, ends):
        super().__init__(daemon=True)
        self.ends, self.sending, self.running = ends, True, True

    def run(self):
        due = time.monotonic()
        while self.running:
            sockets = [end.socket for end in self.ends]
            ready, _, _ = select.select(sockets, [], [], max(0.0, min(due - time.monotonic(), 0.02)))
            for end in self.ends:
                if end.socket in ready:
                    end.receive()
            if time.monotonic() >= due:
                due += PACKET_S
                if self.sending:
                    for end in self.ends:
                        if end.peer:
                            end.send()


class Phone:
    """Just enough of a SIP user agent for one call."""

    def __init__(self, address, port=5060):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, port))
        self.address = address
        self.port = self.socket.getsockname()[1]

    def send(self, target, *lines, body=""):
        kind = ["Content-Type: application/sdp"] if body else []
        text = "\r\n".join([*lines, *kind, f"Content-Length: {len(body)}", "", body])
        self.socket.sendto(text.encode(), target)

    def until(self, wanted, seconds=8):
        """The next message whose first line and CSeq match; others are passed over."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                data, source = self.socket.recvfrom(65535)
            except OSError:  # the time is over, or the call was given up and the socket is closed
                break
            text = data.decode("utf-8", "replace")
            first = text.split("\r\n", 1)[0]
            final = re.match(r"SIP/2\.0 [3-6]\d\d", first)
            if re.match(wanted, first):
                return text, source
            if final:
                raise CallFailed(f"wanted {wanted}, got: {first}")
        raise CallFailed(f"wanted {wanted}, nothing came within {seconds} s")


class CallFailed(Exception):
    """The call did not go as far as the media."""


def headers(text, *names):
    found = []
    for name in names:
        found += re.findall(rf"(?im)^{name}:[^\r\n]*", text)
    return found


def callee(phone, end, early_s, seen):
    """B: 183 with SDP, early media, 200 with the same SDP, ACK, BYE."""
    try:
        invite, source = phone.until("INVITE ")
        end.learn(invite)
        echo = headers(invite, "Via", "Record-Route", "From")
        to = headers(invite, "To")[0] + ";tag=media-b"
        rest = headers(invite, "Call-ID", "CSeq") + [f"Contact: <sip:b@{phone.address}:{phone.port}>"]
        phone.send(source, "SIP/2.0 183 Session Progress", *echo, to, *rest, body=end.sdp())
        time.sleep(early_s)
        phone.send(source, "SIP/2.0 200 OK", *echo, to, *rest, body=end.sdp())
        phone.until("ACK ")
        bye, source = phone.until("BYE ", 120)
        phone.send(source, "SIP/2.0 200 OK", *headers(bye, "Via", "From", "To", "Call-ID", "CSeq"))
        seen["b_call_id"] = headers(invite, "Call-ID")[0].split(":", 1)[1].strip()
    except CallFailed as error:
        seen["b_error"] = f"B: {error}"


def call(target, a, b, number, seconds=5.0, early_s=0.5, customer="61491570156"):
    """Makes the call; gives (complaints, figures)."""
    ends = [Endpoint("A", a), Endpoint("B", b)]
    phone_a, phone_b = Phone(a), Phone(b)
    seen = {}
    answering = threading.Thread(target=callee, args=(phone_b, ends[1], early_s, seen), daemon=True)
    answering.start()
    stream = Stream(ends)
    call_id = f"media-{time.time_ns()}@{a}"
    seen["a_call_id"] = call_id
    branch, uri = f"z9hG4bKmedia{time.time_ns()}", f"sip:{number}@{target[0]}:{target[1]}"
    via = f"Via: SIP/2.0/UDP {a}:{phone_a.port};rport;branch="
    base = ["Max-Forwards: 70", f"From: <sip:{customer}@{a}>;tag=media-a", f"Call-ID: {call_id}",
            f"Contact: <sip:{customer}@{a}:{phone_a.port}>"]
    try:
        phone_a.send(target, f"INVITE {uri} SIP/2.0", via + branch, *base, f"To: <{uri}>",
                     "CSeq: 1 INVITE", body=ends[0].sdp())
        early, _ = phone_a.until(r"SIP/2\.0 183")
        ends[0].learn(early)
        stream.start()
        answer, _ = phone_a.until(r"SIP/2\.0 200")
        heard_early = len(ends[0].received), len(ends[1].received)
        contact = re.search(r"(?im)^Contact:[^<]*<([^>]+)>", answer)
        remote = contact.group(1) if contact else uri
        address = re.sub(r"^sips?:", "", remote.split(";")[0]).split("@")[-1]
        host, _, port = address.partition(":")
        peer = (host, int(port or 5060))
        to = headers(answer, "To")[0]
        phone_a.send(peer, f"ACK {remote} SIP/2.0", via + branch + "a", *base, to, "CSeq: 1 ACK")
        time.sleep(seconds)
        stream.sending = False
        time.sleep(0.2)
        phone_a.send(peer, f"BYE {remote} SIP/2.0", via + branch + "b", *base, to, "CSeq: 2 BYE")
        phone_a.until(r"SIP/2\.0 200")
        answering.join(5)
    except CallFailed as error:
        return [f"A: {error}"] + [seen[key] for key in ("b_error",) if key in seen], seen
    finally:
        stream.running = False
        if stream.is_alive():
            stream.join(2)
        for thing in (*ends, phone_a, phone_b):
            thing.socket.close()
    return judge(ends, heard_early, seen)


def judge(ends, heard_early, seen):
    complaints = [seen["b_error"]] if "b_error" in seen else []
    for sender, receiver, early in ((ends[0], ends[1], heard_early[1]),
                                    (ends[1], ends[0], heard_early[0])):
        way = f"{sender.side}_to_{receiver.side}"
        digest = [hashlib.sha256(b"".join(part)).hexdigest()[:16]
                  for part in (sender.sent, receiver.received)]
        seen[way] = {"sent": len(sender.sent), "received": len(receiver.received),
                     "before_the_answer": early, "sha256_sent": digest[0],
                     "sha256_received": digest[1]}
        if digest[0] != digest[1] or not sender.sent:
            complaints.append(f"media {way}: {len(sender.sent)} sent, {len(receiver.received)} "
                              f"received, hashes {digest[0]} and {digest[1]}")
        if early == 0:
            complaints.append(f"media {way}: nothing passed before the answer")
        if receiver.foreign:
            complaints.append(f"media {way}: {receiver.foreign} packets from another source")
    return complaints, seen


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", required=True, help="host:port of the bridge")
    parser.add_argument("--a", required=True, help="address of the caller")
    parser.add_argument("--b", required=True, help="address of the callee, port 5060")
    parser.add_argument("--number", default="61255501500", help="the number dialled")
    parser.add_argument("--seconds", type=float, default=5, help="how long media flows")
    given = parser.parse_args()
    host, _, port = given.target.partition(":")
    complaints, figures = call((host, int(port or 5060)), given.a, given.b, given.number, given.seconds)
    print(json.dumps(figures, indent=2))
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    sys.exit(1 if complaints else 0)


if __name__ == "__main__":
    main()
