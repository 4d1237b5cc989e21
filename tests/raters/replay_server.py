"""A judge's endpoint for tests: a real HTTP server that plays replies back and remembers what it heard."""

import itertools
import json
import re
import socket
import struct
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BLOCK = re.compile(r"<<<(PROMPT|FIRST ANSWER|SECOND ANSWER) (\w+)>>>\n(.*?)\n<<<END OF \1 \2>>>", re.S)


def verdict(overall="first", **said):
    """A well-formed reply, as text."""
    return json.dumps({"factuality": "tie", "helpfulness": "tie", "style": "tie", "overall": overall} | said)


def completion(text, *, finish_reason="stop", model="replayed-1", prompt_tokens=100, reply_tokens=20):
    """A chat completion's body; tokens None: an endpoint that does not count."""
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": reply_tokens, "total_tokens": 0}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [{"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", "content": text}}],
    } | ({} if prompt_tokens is None else {"usage": usage})


def shown(request):
    """The prompt and the two answers of a request, as a judge is shown them."""
    found = BLOCK.findall(request["messages"][-1]["content"])
    return tuple(text for _, _, text in found)


class Status:
    """Answer with a status code, a body and headers; by default so that the client asks again at once."""

    def __init__(self, code, body=None, **headers):
        self.code = code
        self.body = body if body is not None else {"error": {"message": f"status {code}"}}
        self.headers = headers or {"retry-after-ms": "1"}


class Reset:
    """Break the connection off."""


class Slow:
    """Answer only after a while."""

    def __init__(self, seconds, then):
        self.seconds = seconds
        self.then = then


class Meet:
    """Answer only once so many requests are here together."""

    def __init__(self, barrier, then):
        self.barrier = barrier
        self.then = then


class Replay:
    """What the server heard: `requests`, their `headers`, and the most that were in work at once."""

    def __init__(self, reply):
        self.reply = reply
        self.requests = []
        self.headers = []
        self.times = []
        self.num_at_once = 0
        self.most_at_once = 0
        self.lock = threading.Lock()
        self.base_url = ""


@contextmanager
def replaying(reply):
    """Serve replies while the block runs. reply: a function of the request, or a list to be given one by one.

    A reply is the judge's text, a whole body (a dict), raw bytes, or Status, Slow, Meet or Reset.
    """
    script = None if callable(reply) else itertools.chain(reply)
    replay = Replay(reply if script is None else lambda _: next(script))
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(replay))
    server.daemon_threads = True
    replay.base_url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield replay
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(replay):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_):
            pass

        def do_POST(self):
            assert self.path == "/v1/chat/completions"
            request = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with replay.lock:
                replay.requests.append(request)
                replay.headers.append({name.lower(): value for name, value in self.headers.items()})
                replay.times.append(time.monotonic())
                replay.num_at_once += 1
                replay.most_at_once = max(replay.most_at_once, replay.num_at_once)
                reply = replay.reply(request)
            try:
                self.send(reply)
            finally:
                with replay.lock:
                    replay.num_at_once -= 1

        def send(self, reply):
            if isinstance(reply, Slow):
                time.sleep(reply.seconds)
                reply = reply.then
            if isinstance(reply, Meet):
                reply.barrier.wait(timeout=10)
                reply = reply.then
            if isinstance(reply, Reset):
                # Lingering for no time at all makes close() send a reset.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True
                return
            code, headers = 200, {}
            if isinstance(reply, Status):
                code, headers, reply = reply.code, reply.headers, reply.body
            if isinstance(reply, str):
                reply = completion(reply)
            body = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
            try:
                self.send_response(code)
                for name, value in ({"content-type": "application/json"} | headers).items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except (BrokenPipeError, ConnectionResetError):  # the client went away after its timeout
                self.close_connection = True

    return Handler
