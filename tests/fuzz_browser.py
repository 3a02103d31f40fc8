"""Send broken messages and pictures to the server of `dream_play_tf.py --browser`, while another player plays on.

python -m tests.fuzz_browser http://127.0.0.1:8765/ --messages 2000 --uploads 500
"""

import argparse
import http.client
import io
import json
import struct
import threading
import time
import urllib.error
import urllib.request
import zlib
from urllib.parse import parse_qsl, urlencode, urlsplit

import numpy as np
import websocket
from PIL import Image

VALID = (
    {"kind": "down", "key": "d", "input": 1}, {"kind": "up", "key": "d", "input": 2}, {"kind": "release", "input": 3},
    {"kind": "pause", "on": False}, {"kind": "step"}, {"kind": "back"}, {"kind": "speed", "times": 2.0},
    {"kind": "wait", "on": False}, {"kind": "prompt", "number": 1}, {"kind": "record", "on": False},
)  # fmt: skip
ODD = (None, [], {}, "", "\ud800", "d" * 2000, -1, 2**60, 1e308, float("nan"), float("-inf"), [[["d"]]], {"on": True})


class Client:
    """A player without a browser.

    Args:
        address: The address that the server printed.
        identity: Name of the place that the client had.
        origin: The page's site; by default the server's.
    """

    def __init__(self, address: str, identity: str = "", origin: str | None = None):
        parts = urlsplit(address)
        query = urlencode({**dict(parse_qsl(parts.query)), "id": identity})
        site = f"{parts.scheme}://{parts.netloc}" if origin is None else origin
        self.address = address
        self.socket = websocket.create_connection(f"ws://{parts.netloc}/play?{query}", timeout=60, origin=site)
        self.hello = self.line("kind", "hello")

    def read(self) -> tuple[dict, bytes]:
        """The next message: a line, or the header of a picture and its PNG file."""
        kind, data = self.socket.recv_data()
        if kind == websocket.ABNF.OPCODE_CLOSE:
            raise websocket.WebSocketConnectionClosedException(data[2:].decode())
        if kind == websocket.ABNF.OPCODE_TEXT:
            return json.loads(data), b""
        length = int.from_bytes(data[:2], "big")
        return json.loads(data[2 : 2 + length]), data[2 + length :]

    def line(self, name: str, value=None) -> dict:
        """The next line that has this name, and this value if it is given."""
        while True:
            line, picture = self.read()
            if not picture and name in line and value in (None, line[name]):
                return line

    def picture(self) -> tuple[dict, np.ndarray]:
        """The next picture: its header, and uint8 (S H, W, 3)."""
        while True:
            header, data = self.read()
            if data:
                return header, np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

    def send(self, **message) -> None:
        self.socket.send(json.dumps(message))

    def get(self, path: str, data: bytes | None = None) -> tuple[int, bytes]:
        """Ask for a path of the server, or send data to it. Returns the status and the answer; status 0 if it hung up."""
        parts = urlsplit(self.address)
        query = urlencode({**dict(parse_qsl(parts.query)), "id": self.hello["id"]})
        try:
            with urllib.request.urlopen(f"{parts.scheme}://{parts.netloc}{path}?{query}", data, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except (OSError, http.client.HTTPException):
            return 0, b""


def broken_message(rng: np.random.Generator) -> tuple[bytes, int]:
    """A message that the server must refuse, and its websocket opcode."""
    text, binary = websocket.ABNF.OPCODE_TEXT, websocket.ABNF.OPCODE_BINARY
    message = dict(VALID[rng.integers(len(VALID))])
    whole = json.dumps(message).encode()
    field = list(message)[rng.integers(len(message))]
    odd = ODD[rng.integers(len(ODD))]
    size = int(rng.integers(1, 3000))
    ways = [
        lambda: (whole[: rng.integers(len(whole))], text),  # truncated
        lambda: (b"x" * int(rng.integers(5_000, 200_000)), text),  # huge
        lambda: (json.dumps({**message, field: odd}).encode(), text),  # of the wrong type
        lambda: (json.dumps({name: value for name, value in message.items() if name != field}).encode(), text),
        lambda: (json.dumps({**message, "extra": odd}).encode(), text),
        lambda: (json.dumps({**message, "kind": str(odd)[:50]}).encode(), text),
        lambda: (json.dumps([message]).encode(), text),
        lambda: (b"[" * size, text),  # nested
        lambda: (b'{"kind":' * (size // 8 + 1), text),
        lambda: (rng.bytes(size), binary),
        lambda: (whole, binary),
        lambda: (b"\xff\xfe" + rng.bytes(size), text),  # no UTF-8
        lambda: (b'{"kind": "speed", "times": %s}' % [b"1e999", b"-1", b"0", b"NaN", b"9" * 3000][rng.integers(5)], text),
        lambda: (b'{"kind": "prompt", "number": %s}' % [b"1e3", b"-1", b"99", b"true", b"9" * 3000][rng.integers(5)], text),
        lambda: (b'{"kind": "down", "key": "%s", "input": 1}' % [b"0", b"9", b"none", b"dw", b"__class__"][rng.integers(5)], text),
    ]
    return ways[rng.integers(len(ways))]()


def small_picture(rng: np.random.Generator, form: str = "png") -> bytes:
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (40, 50, 3)).astype(np.uint8)).save(file, format=form)
    return file.getvalue()


def bomb(side: int) -> bytes:
    """A small PNG file that unpacks to `side` x `side` pixels."""

    def part(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    pack = zlib.compressobj(9)
    rows = b"".join(pack.compress(bytes(side + 1)) for _ in range(200)) + pack.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", rows) + part(b"IEND", b"")


def broken_picture(rng: np.random.Generator) -> bytes:
    """A file that is no picture, or a damaged one. A few may still be read."""
    form = ["png", "jpeg", "webp", "gif", "bmp"][rng.integers(5)]
    whole = small_picture(rng, form)
    flipped = bytearray(whole)
    for at in rng.integers(len(whole), size=8):
        flipped[at] = rng.integers(256)
    ways = [
        lambda: whole[: rng.integers(1, len(whole))],
        lambda: bytes(flipped),
        lambda: rng.bytes(int(rng.integers(1, 5000))),
        lambda: b"this is no picture\n" * 20,
        lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        lambda: bomb(int(rng.choice([8_000, 12_000, 60_000]))),
        lambda: whole + bytes(9 * 2**20),
        lambda: whole[:8],
        lambda: b"",
    ]
    return ways[rng.integers(len(ways))]()


def fuzz(address: str, messages: int, uploads: int, seed: int = 1) -> dict:
    """Send broken messages and pictures, while a second player plays on.

    Returns:
        A dict: `errors`, messages that were answered by one line; `closed`, those that closed the connection; `refused`, pictures
        answered by one line; `hung_up`, those that ended their request; `read`, those that could be read after all; `frames` of the
        second player meanwhile; `longest_wait` of it for a frame, in seconds; and `left`, whether it got another frame at the end.
    """
    rng = np.random.default_rng(seed)
    told = dict.fromkeys(("errors", "closed", "refused", "hung_up", "read"), 0)
    other, times, over = Client(address), [time.monotonic()], threading.Event()

    def play_on():
        while not over.is_set():
            other.picture()
            times.append(time.monotonic())

    hands = threading.Thread(target=play_on, daemon=True)
    hands.start()
    client = Client(address)
    for _ in range(messages):
        data, opcode = broken_message(rng)
        try:
            client.socket.send(data, opcode)
            assert "\n" not in client.line("error")["error"]
            told["errors"] += 1
        except (websocket.WebSocketException, OSError):
            client.socket.close()
            client = Client(address, client.hello["id"])
            told["closed"] += 1
    for _ in range(uploads):
        status, answer = client.get("/picture", broken_picture(rng))
        assert status in (0, 200, 400, 413), (status, answer)
        told["hung_up" if status == 0 else "read" if status == 200 else "refused"] += 1
        assert status in (0, 200) or b"\n" not in json.loads(answer)["error"].encode()
    over.set()
    hands.join(60)
    ended = len(times)
    header, _ = other.picture()
    waits = np.diff(times)
    client.socket.close()
    other.socket.close()
    return told | {"frames": ended - 1, "longest_wait": float(waits.max()), "left": header["step"] > 0}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--uploads", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    print(fuzz(**vars(parser.parse_args())))
