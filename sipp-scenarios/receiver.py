#!/usr/bin/env python3
"""A receiver of webhooks over real HTTP, which checks what it is sent and may misbehave.

It verifies each request as Standard Webhooks says (standardwebhooks.com) and writes a line to its
log before it answers, so that the log knows of every answer that anybody has seen. Alone:

  receiver.py --bind 127.4.0.9:9000 --secret whsec_... --log events.jsonl --faults 0.1
"""

import argparse
import asyncio
import base64
import hashlib
import hmac
import json
import random
import socket
import struct
import threading
import time
from collections import Counter

ADDRESS = "127.4.0.1"
SECRET = "whsec_YS1rZXktb2YtdGhpcnR5LXR3by1ieXRlcy1sb25nIQ=="
FAULTS = ("500", "hang", "reset", "drip")
ANSWERS = {"200": "200 OK", "410": "410 Gone", "500": "500 Internal Server Error"}
TOLERANCE_S = 300
BODY_MAX_BYTES = 1 << 20
HEAD_LINES_MAX = 100


def key_of(secret):
    """The key of a secret: `whsec_<base64>` is bytes, any other text is its own bytes."""
    if secret.startswith("whsec_"):
        return base64.b64decode(secret.removeprefix("whsec_"))
    return secret.encode()


def signature(key, event, timestamp, body):
    signed = f"{event}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def wrong_with(key, headers, body, now):
    """Why a request is no webhook of ours, in a few words; None where it is one."""
    event, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not event or not timestamp.isdigit():
        return "no webhook-id or webhook-timestamp"
    if abs(now - int(timestamp)) > TOLERANCE_S:
        return f"timestamp {timestamp} is too far from {now:.0f}"
    given = headers.get("webhook-signature", "").split()
    wanted = signature(key, event, timestamp, body)
    if not any(hmac.compare_digest(one.encode(), wanted.encode()) for one in given):
        return "bad signature"
    if headers.get("content-type", "").split(";")[0].strip() != "application/json":
        return f"content-type {headers.get('content-type')!r}"
    try:
        told = json.loads(body)
        if told["id"] != event:
            return f"the body is of event {told['id']}"
        if not event.startswith(told["call_id"] + "-"):
            return f"id {event} is not of call {told['call_id']}"
        if not isinstance(told["sequence"], int) or not isinstance(told["data"], dict):
            return "sequence is no number or data no object"
    except (ValueError, KeyError, TypeError) as error:
        return f"the body cannot be read: {error!r}"
    return None


class Receiver:
    """Listens in a thread of its own until closed; may be shut and opened again on the same port.

    `mode` is what becomes of a request: "faulty" (a share of `rate` fails, 500, hang, reset and
    drip alike), "hang" (nothing is ever answered), or a status to give to all ("410").
    """

    def __init__(self, log, address, secret, port=9000, mode="faulty", rate=0.0, seed=1):
        self.path, self.address, self.port = log, address, port
        self.secret, self.key = secret, key_of(secret)
        self.mode, self.rate, self.dice = mode, rate, random.Random(seed)
        self.log = open(log, "a", encoding="utf-8")
        self.verdicts, self.server, self.open_connections = Counter(), None, set()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    @property
    def url(self):
        return f"http://{self.address}:{self.port}/hook"

    def open(self):
        """Begins to listen."""
        self.wait_for(self.listen())
        return self

    def shut(self):
        """The port is closed and every connection reset: nobody is there."""
        self.wait_for(self.deafen())

    def close(self):
        """The end of it."""
        self.shut()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)
        self.loop.close()
        self.log.close()

    def wait_for(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(10)

    def attempts(self):
        """What was received so far, in order."""
        return read_log(self.path)

    async def listen(self):
        if self.server is None:
            self.server = await asyncio.start_server(
                self.connection, self.address, self.port, backlog=1024)

    async def deafen(self):
        if self.server is None:
            return
        self.server.close()
        self.server = None
        tasks = list(self.open_connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def connection(self, reader, writer):
        task = asyncio.current_task()
        self.open_connections.add(task)
        try:
            while request := await self.request(reader):
                if not await self.answer(self.judge(*request), reader, writer):
                    break
        except (OSError, asyncio.IncompleteReadError, ValueError):
            pass  # the other side went away or spoke no HTTP
        except asyncio.CancelledError:
            reset(writer)
        finally:
            self.open_connections.discard(task)
            writer.close()

    async def request(self, reader):
        """The headers and the body of the next request; None where there is none."""
        line = await reader.readline()
        if not line:
            return None
        headers = {":method": line.decode("latin-1").split(" ")[0]}
        for _ in range(HEAD_LINES_MAX):
            line = (await reader.readline()).decode("latin-1").strip()
            if not line:
                break
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        length = int(headers.get("content-length", 0))
        if length > BODY_MAX_BYTES:
            raise ValueError(f"{length} bytes")
        return headers, await reader.readexactly(length)

    def judge(self, headers, body):
        """Decides on one attempt and writes it down; the line is out before the answer is."""
        now = time.time()
        wrong = wrong_with(self.key, headers, body, now)
        if wrong is None and headers[":method"] != "POST":
            wrong = f"method {headers[':method']}"
        verdict = self.mode
        if self.mode == "faulty":
            verdict = self.dice.choice(FAULTS) if self.dice.random() < self.rate else "200"
        told = {} if wrong else json.loads(body)
        line = {"at": now, "verdict": verdict, "wrong": wrong, "id": headers.get("webhook-id"),
                "sha256": hashlib.sha256(body).hexdigest(), "event": told}
        self.log.write(json.dumps(line) + "\n")
        self.log.flush()
        self.verdicts[verdict] += 1
        return verdict

    async def answer(self, verdict, reader, writer):
        """Does what was decided; false where the connection is over."""
        if verdict == "reset":
            reset(writer)
            return False
        if verdict == "hang":
            await reader.read()  # nothing comes but the end, when the sender has waited enough
            return False
        text = f"HTTP/1.1 {ANSWERS.get(verdict, '200 OK')}\r\nContent-Length: 0\r\n\r\n".encode()
        if verdict == "drip":
            for byte in text:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(1)
        else:
            writer.write(text)
            await writer.drain()
        return True


def receiver_in(where, **how):
    """A receiver that keeps its log in a directory; it does not listen yet."""
    where.mkdir(parents=True, exist_ok=True)
    return Receiver(where / "webhooks.jsonl", ADDRESS, SECRET, **how)


def reset(writer):
    """Ends a connection with RST."""
    end = writer.get_extra_info("socket")
    if end is not None:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def read_log(path):
    """The attempts of a log; a last line that is still being written is left out."""
    with open(path, encoding="utf-8") as log:
        return [json.loads(line) for line in log if line.endswith("\n")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bind", default="127.0.0.1:9000", help="address and port to listen on")
    parser.add_argument("--secret", required=True, help="whsec_<base64>, or any text")
    parser.add_argument("--log", default="webhooks.jsonl", help="a line for each attempt")
    parser.add_argument("--mode", default="faulty", help="faulty, hang, or a status for all")
    parser.add_argument("--faults", type=float, default=0.0, help="which share of attempts fails")
    parser.add_argument("--seed", type=int, default=1, help="the same draw again")
    given = parser.parse_args()
    address, _, port = given.bind.rpartition(":")
    receiver = Receiver(given.log, address, given.secret, int(port), given.mode, given.faults,
                        given.seed).open()
    print(f"listening on {receiver.url}", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print(dict(receiver.verdicts))
    finally:
        receiver.close()


if __name__ == "__main__":
    main()
