"""The receiver of webhooks, asked over real sockets."""

import base64
import http.client
import json
import socket
import tempfile
import time
import unittest
from pathlib import Path

import receiver
from receiver import Receiver

SECRET = "whsec_" + base64.b64encode(b"sixteen bytes at least").decode()
ADDRESS = "127.4.99.1"


def request(number=1, call="01J", secret=SECRET, stamp=None):
    told = {"id": f"{call}-{number}", "type": "cooee.call.ringing", "call_id": call,
            "sequence": number, "time": "2026-11-21T14:00:00.123456Z", "data": {}}
    body = json.dumps(told).encode()
    stamp = str(int(stamp or time.time()))
    signed = receiver.signature(receiver.key_of(secret), told["id"], stamp, body)
    return {"content-type": "application/json", "webhook-id": told["id"],
            "webhook-timestamp": stamp, "webhook-signature": signed}, body


class Posts(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.made = []

    def tearDown(self):
        for one in self.made:
            one.close()
        self.dir.cleanup()

    def receiver(self, **more):
        log = Path(self.dir.name) / f"{len(self.made)}.jsonl"
        with socket.socket() as probe:
            probe.bind((ADDRESS, 0))
            port = probe.getsockname()[1]
        self.made.append(Receiver(log, ADDRESS, SECRET, port, **more).open())
        return self.made[-1]

    def post(self, to, headers, body, timeout=5):
        """The status, or the name of what happened instead."""
        wire = http.client.HTTPConnection(ADDRESS, to.port, timeout=timeout)
        try:
            wire.request("POST", "/hook", body, headers)
            return wire.getresponse().status
        except OSError as error:
            return type(error).__name__
        finally:
            wire.close()

    def test_a_good_one_is_logged_before_it_is_answered(self):
        to = self.receiver()
        self.assertEqual(self.post(to, *request()), 200)
        (seen,) = to.attempts()
        self.assertEqual((seen["id"], seen["verdict"], seen["wrong"]), ("01J-1", "200", None))
        self.assertEqual(seen["event"]["sequence"], 1)

    def test_a_connection_serves_many(self):
        to = self.receiver()
        wire = http.client.HTTPConnection(ADDRESS, to.port, timeout=5)
        for number in range(1, 4):
            headers, body = request(number)
            wire.request("POST", "/hook", body, headers)
            self.assertEqual(wire.getresponse().read(), b"")
        wire.close()
        self.assertEqual([one["id"] for one in to.attempts()], ["01J-1", "01J-2", "01J-3"])

    def test_what_is_forged_is_seen(self):
        to = self.receiver()
        good, body = request()
        for headers, sent in [
            request(secret="another secret of any text"),
            (good, body + b" "),
            request(stamp=time.time() - 3600),
            ({**good, "content-type": "text/plain"}, body),
            ({name: text for name, text in good.items() if name != "webhook-signature"}, body),
            ({}, b""),
        ]:
            self.assertEqual(self.post(to, headers, sent), 200)
        self.assertTrue(all(one["wrong"] for one in to.attempts()), to.attempts())

    def test_the_example_of_the_standard(self):
        # standardwebhooks.com, the vector of its reference libraries.
        key = receiver.key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
        given = receiver.signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330",
                                   b'{"test": 2432232314}')
        self.assertEqual(given, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")

    def test_each_fault_is_what_it_says(self):
        for verdict, wanted in [("410", 410), ("500", 500), ("hang", "TimeoutError"),
                                ("reset", "ConnectionResetError")]:
            to = self.receiver(mode=verdict)
            self.assertEqual(self.post(to, *request(), timeout=0.5), wanted, verdict)
            self.assertEqual([one["verdict"] for one in to.attempts()], [verdict])

    def test_a_drip_comes_byte_by_byte(self):
        to = self.receiver(mode="drip")
        with socket.create_connection((ADDRESS, to.port), timeout=5) as wire:
            wire.sendall(b"POST /hook HTTP/1.1\r\n\r\n")
            self.assertEqual([wire.recv(100), wire.recv(100)], [b"H", b"T"])

    def test_a_seed_makes_the_same_faults(self):
        def drawn(seed):
            to = self.receiver(rate=0.5, seed=seed)
            for number in range(1, 41):
                self.post(to, *request(number), timeout=0.05)
            return [one["verdict"] for one in to.attempts()]
        first = drawn(7)
        self.assertEqual(first, drawn(7))
        self.assertEqual({"200", *receiver.FAULTS}, set(first), first)

    def test_a_shut_port_refuses_and_opens_again(self):
        to = self.receiver(mode="hang")
        wire = socket.create_connection((ADDRESS, to.port), timeout=5)
        wire.sendall(b"POST /hook HTTP/1.1\r\n\r\n")
        until = time.monotonic() + 5
        while not to.attempts() and time.monotonic() < until:
            time.sleep(0.01)
        to.shut()
        with self.assertRaises(ConnectionResetError):
            wire.recv(1)
        wire.close()
        self.assertEqual(self.post(to, *request()), "ConnectionRefusedError")
        to.mode = "faulty"
        to.open()
        self.assertEqual(self.post(to, *request()), 200)


if __name__ == "__main__":
    unittest.main()
