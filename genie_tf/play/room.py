"""The players of one world, each a guest in the room: what they send, and the thread that computes all their dreams."""

import asyncio
import contextlib
import io
import json
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable

import numpy as np
from PIL import Image
from starlette.websockets import WebSocket, WebSocketDisconnect

from genie_tf.config import Config
from genie_tf.episodes.controls import keys_in
from genie_tf.errors import UserError
from genie_tf.play.keys import DIGITS, pressed_in
from genie_tf.play.prompts import Prompt
from genie_tf.play.recording import Recording
from genie_tf.play.session import BATCHES, Session, guess_threshold, press_together

GUESTS = BATCHES[-1]  # at once
KEEP = 60.0  # seconds for which the dream of a guest is kept whose connection is cut
ORDERS = 8  # of a guest that wait for the thread
LINES = 32  # that wait for a slow browser; the oldest are left out
FILM = 1500  # frames of a film
GALLERY = 8  # prompts


# Messages ------------------------------------------------------------------------------------------


def _flag(value) -> bool:
    return isinstance(value, bool)


def _text(value) -> bool:
    return isinstance(value, str)


def _whole(value) -> bool:
    return type(value) is int and 0 <= value < 2**53


def _speed(value) -> bool:
    return type(value) in (int, float) and 0.1 <= value <= 10


KINDS: dict[str, dict[str, Callable]] = {  # the messages of the page: the check of each field
    "down": {"key": _text, "input": _whole},  # a key of the game or a digit; inputs are numbered
    "up": {"key": _text, "input": _whole},
    "release": {"input": _whole},  # all keys
    "pause": {"on": _flag},
    "step": {},  # one, while paused
    "back": {},  # undo a step, and pause
    "speed": {"times": _speed},
    "wait": {"on": _flag},  # step only while a key is pressed
    "prompt": {"number": _whole},  # of the gallery, from 1; 0 is a random one
    "record": {"on": _flag},
}


def read_message(text: str | None) -> dict:
    """Check a message of the page.

    Args:
        text: The message; None for a binary one.

    Returns:
        A dict of `kind` and the fields of this kind.

    Raises:
        UserError: it is not one of `KINDS`, or a field is missing, unknown or out of range.
    """
    try:
        message = json.loads(text or "")
    except (ValueError, RecursionError) as error:
        raise UserError("a message is a JSON object") from error
    if not isinstance(message, dict) or not isinstance(message.get("kind"), str) or message["kind"] not in KINDS:
        raise UserError(f"a message has a kind: {', '.join(KINDS)}")
    fields = KINDS[message["kind"]]
    if message.keys() != {"kind", *fields} or not all(check(message[name]) for name, check in fields.items()):
        raise UserError(f"{message['kind']} has a wrong field: its fields are {', '.join(fields) or 'none'}")
    return message


# Guests --------------------------------------------------------------------------------------------


class Outbox:
    """What waits to be sent to one browser: lines, and of the pictures only the newest. A slow browser loses the others.

    `put` may be called from any thread.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop):
        self.loop, self.filled = loop, asyncio.Event()
        self.lines: deque[dict] = deque(maxlen=LINES)
        self.picture: tuple[dict, np.ndarray] | None = None

    def put(self, line: dict | None = None, picture: tuple[dict, np.ndarray] | None = None) -> None:
        def store():
            if line is not None:
                self.lines.append(line)
            if picture is not None:
                self.picture = picture
            self.filled.set()

        with contextlib.suppress(RuntimeError):  # the server has just closed
            self.loop.call_soon_threadsafe(store)

    async def send(self, websocket: WebSocket) -> None:
        """Send until the connection ends."""
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # closed while sending
            while True:
                await self.filled.wait()
                self.filled.clear()
                while self.lines:
                    await websocket.send_text(json.dumps(self.lines.popleft()))
                if self.picture is not None:
                    header, frames = self.picture
                    self.picture = None
                    text = json.dumps(header).encode()
                    await websocket.send_bytes(len(text).to_bytes(2) + text + png(frames))


def png(frames: np.ndarray) -> bytes:
    """Frames uint8 (S, H, W, 3) as one PNG file, one above another."""
    file = io.BytesIO()
    Image.fromarray(frames.reshape(-1, *frames.shape[2:])).save(file, format="png", compress_level=1)
    return file.getvalue()


class Guest:
    """Someone who plays: a session, and what the hands do.

    Args:
        session: The session. Only the thread of the room uses it.
        period: Seconds of a step at normal speed.
    """

    def __init__(self, session: Session, period: float):
        self.id, self.session, self.period = secrets.token_urlsafe(16), session, period
        self.websocket: WebSocket | None = None
        self.outbox = Outbox(asyncio.get_running_loop())  # of the newest connection
        self.gone = 0.0  # when the connection was cut
        self.held: set[str] = set()
        self.tapped: set[str] = set()  # pressed since the last step
        self.input = 0  # number of the newest input
        self.paused, self.single, self.wait, self.speed = False, False, False, 1.0
        self.due = 0.0  # time of the next step
        self.eager = False  # a new key's step begins up to one step early; the ones after it do not, so the speed is the same
        self.orders: deque[Callable[[], None]] = deque()  # what the thread does before the next step
        self.recording: Recording | None = None
        self.film: tuple[np.ndarray, dict] | None = None  # the last one: frames uint8 (T, H, W, 3), and its notes
        self.shown: tuple[dict, np.ndarray] | None = None  # the last picture
        self.uploading = asyncio.Lock()

    def key(self) -> str | None:
        """The key of the next step, or None if there is none now."""
        if self.websocket is None or (self.paused and not self.single):
            return None
        world, down = self.session.world, self.held | self.tapped
        return None if self.wait and not self.single and not down else pressed_in(down, world.keymap, world.actions)

    def tell_state(self) -> None:
        state = {"paused": self.paused, "wait": self.wait, "speed": self.speed, "recording": self.recording is not None}
        self.outbox.put({"kind": "state", **state, "film": 0 if self.film is None else len(self.film[0])})

    def show(self, frames: np.ndarray, key: str = "", action: int = -1, probability: float = 1.0, answers: int = 0) -> None:
        """Show frames uint8 (S, H, W, 3). `answers` is the number of the newest input they were computed under."""
        header = {"key": key, "code": action + 1, "probability": round(probability, 4), "input": answers}
        header |= {"frames": len(frames), "step": len(self.session.keys), "dream": self.session.seed}
        self.shown = header, frames
        self.outbox.put(picture=self.shown)

    # Orders for the thread.

    def begin(self, prompt: Prompt | None) -> None:
        """Start a new dream, from a random prompt by default."""
        frames = self.session.reset(prompt)
        if self.recording is not None:
            self.recording.follow()
        assert self.session.prompt is not None
        self.outbox.put({"kind": "begun", "name": self.session.prompt.name})
        self.show(frames[-1:])

    def back(self) -> None:
        """Undo a step, also in the film."""
        if not self.session.back():
            raise UserError("this is as far back as it goes")
        if self.recording is not None:
            self.recording.undo()
        self.show(self.session.frame[None])

    def record(self, on: bool) -> None:
        """Start a film, or end it."""
        if on and self.recording is None:
            self.recording = Recording(self.session)
        elif not on and self.recording is not None:
            if self.recording.frames:
                self.film = np.stack(self.recording.frames), self.recording.notes()
            self.recording = None
        self.tell_state()


class Room:
    """The guests of one world, and the thread that computes their dreams.

    The lock `changed` guards the guests, but for their sessions and recordings, which are the thread's own.

    Args:
        first: A session of the world.
        config: The world; section `play`.

    Raises:
        UserError: evaluation.json is damaged.
    """

    def __init__(self, first: Session, config: Config):
        self.first, self.config = first, config
        self.guests: dict[str, Guest] = {}
        self.joined = 0  # guests so far
        self.gallery = first.prompts.gallery(GALLERY)
        self.changed = threading.Condition()
        self.closed = False
        self.failure: BaseException | None = None  # that has ended the thread
        self.when_failed: Callable[[], None] = lambda: None
        self.thread = threading.Thread(target=self._work, name="dreams", daemon=True)
        world = first.world
        height, width = world.frame_size
        self.keys = sorted(frozenset().union(*map(keys_in, world.keymap)))
        self.digits = DIGITS[: world.actions]
        self.facts = {
            "kind": "hello", "world": config.world, "width": width, "height": height, "keys": self.keys,
            "codes": len(self.digits), "frames_per_second": config.play.frames_per_second,
            "gallery": [prompt.name for prompt in self.gallery], "threshold": guess_threshold(world),
        }  # fmt: skip

    # Called by the server.

    def join(self, identity: str, websocket: WebSocket) -> tuple[Guest, WebSocket | None] | None:
        """Give a place to a browser: its former one if it has the name of one, or a new one.

        Returns:
            The guest, and the websocket that had this place until now. None if all places are taken.
        """
        with self.changed:
            for gone in [each for each in self.guests.values() if each.websocket is None]:
                if time.monotonic() - gone.gone > KEEP:
                    del self.guests[gone.id]
            again = identity in self.guests
            if not again and len(self.guests) == GUESTS:
                return None
            guest = self.guests[identity] if again else self._place()
            before, guest.websocket = guest.websocket, websocket
            guest.outbox = Outbox(asyncio.get_running_loop())
            guest.held.clear()
            guest.input = 0
            guest.outbox.put({**self.facts, "id": guest.id, "again": again})
            guest.tell_state()
            if guest.shown is not None:
                guest.outbox.put(picture=guest.shown)
            self.changed.notify()
            return guest, before

    def _place(self) -> Guest:
        """A new place, whose dream is about to begin."""
        play, seed = self.config.play, self.config.play.seed + self.joined
        session = Session(self.first.world, self.first.prompts, play, seed=seed)
        guest = Guest(session, session.world.stride / play.frames_per_second)
        guest.orders.append(lambda: guest.begin(None))
        self.guests[guest.id] = guest
        self.joined += 1
        return guest

    def leave(self, guest: Guest, websocket: WebSocket, forget: bool = False) -> None:
        """Note that a connection has ended."""
        with self.changed:
            if guest.websocket is not websocket:  # the guest has come back by another one
                return
            guest.websocket, guest.gone = None, time.monotonic()
            guest.held.clear()
            if forget:
                self.guests.pop(guest.id, None)

    def order(self, guest: Guest, order: Callable[[], None]) -> None:
        """Let the thread do something for a guest.

        Raises:
            UserError: too much is waiting.
        """
        with self.changed:
            if len(guest.orders) >= ORDERS:
                raise UserError("slower: the dream has not caught up yet")
            guest.orders.append(order)
            self.changed.notify()

    def receive(self, guest: Guest, text: str | None) -> None:
        """Do what a message says.

        Raises:
            UserError: the message is invalid.
        """
        message = read_message(text)
        kind = message["kind"]
        with self.changed:
            if kind in ("down", "up") and message["key"] not in (*self.keys, *self.digits):
                raise UserError("this world has no such key")
            if kind == "prompt" and message["number"] > len(self.gallery):
                raise UserError(f"the gallery has {len(self.gallery)} pictures")
            guest.input = message.get("input", guest.input)
            if kind == "down":
                guest.eager |= message["key"] not in guest.held
                guest.held.add(message["key"])
                guest.tapped.add(message["key"])
            elif kind == "up":
                guest.held.discard(message["key"])
            elif kind == "release":
                guest.held.clear()
            elif kind == "pause":
                guest.paused = message["on"]
            elif kind == "step":
                guest.single = guest.paused
            elif kind == "back":
                guest.paused = True
                self.order(guest, guest.back)
            elif kind == "speed":
                guest.speed = message["times"]
            elif kind == "wait":
                guest.wait = message["on"]
            elif kind == "prompt":
                guest.paused = False
                number = message["number"]
                self.order(guest, lambda: guest.begin(self.gallery[number - 1] if number else None))
            elif kind == "record":
                self.order(guest, lambda: guest.record(message["on"]))
            if kind not in ("down", "up", "release", "step", "record"):
                guest.tell_state()
            self.changed.notify()

    def close(self) -> None:
        """End the thread, and wait for its last step."""
        with self.changed:
            self.closed = True
            self.changed.notify()
        self.thread.join()

    # The thread.

    def _work(self) -> None:
        try:
            while not self.closed:
                orders, due = self._next()
                for guest, order in orders:
                    try:
                        order()
                    except UserError as error:
                        guest.outbox.put({"error": str(error)})
                if due:
                    self._step(due)
        except BaseException as error:
            self.failure = error
            self.when_failed()

    def _next(self) -> tuple[list, list]:
        """Wait until there is something to do.

        Returns:
            The next order of each guest, as pairs of the guest and the order; and the guests whose step is due: the guest, the
            key, and the number of its newest input.
        """
        with self.changed:
            while not self.closed:
                now, due, waits = time.monotonic(), [], []
                orders = [(guest, guest.orders.popleft()) for guest in self.guests.values() if guest.orders]
                busy = {guest.id for guest, _ in orders}
                for guest in self.guests.values():
                    key = guest.key()
                    if key is None or guest.id in busy:
                        continue
                    period = guest.period / guest.speed
                    wait = guest.due - now - (period if guest.eager else 0)
                    if wait > 0:
                        waits.append(wait)
                        continue
                    due.append((guest, key, guest.input))
                    guest.due = guest.due + period if now - guest.due < period else now + period
                    guest.tapped.clear()
                    guest.single = guest.eager = False
                if orders or due:
                    return orders, due
                self.changed.wait(min(waits, default=None))
            return [], []

    def _step(self, due: list[tuple[Guest, str, int]]) -> None:
        """One step of these guests, in one batch."""
        steps = press_together([guest.session for guest, _, _ in due], [key for _, key, _ in due])
        for (guest, _, answers), step in zip(due, steps):
            guest.show(step.frames, step.key, step.action, step.probability, answers)
            if guest.recording is not None:
                guest.recording.add(step.frames)
                if len(guest.recording.frames) >= FILM:
                    guest.record(False)
