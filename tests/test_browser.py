"""Play in a browser: a real server, a headless Chromium with real keys and fingers, and players who send nonsense."""

import asyncio
import contextlib
import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import websocket
from conftest import ROOT, copied, refused, wait_for
from fuzz_browser import Client, fuzz

from benchmarks.desk import Chromium, Page
from genie_tf.config import Config, DynamicsConfig
from genie_tf.errors import UserError
from genie_tf.files import write_json
from genie_tf.play.room import GUESTS, LINES, Guest, Outbox, Room, read_message
from genie_tf.play.server import Guard, listen

needs_chromium = pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium: `make screen` installs it")


@pytest.fixture(scope="module")
def address(tiny, tmp_path_factory):
    """The address of a server that other machines may reach, so that it has a token. Ctrl-C ends it at last."""
    place = copied(tiny.folder, tmp_path_factory.mktemp("browser") / "world")
    write_json(place.folder / "model" / "tiny" / "evaluation.json", {"guess.threshold": {"value": 0.999}})
    options = ["--browser", "--host", "0.0.0.0", "--port", "0", "--play.frames_per_second", "10", "--play.sampling_steps", "1"]
    command = [sys.executable, str(ROOT / "dream_play_tf.py"), "--config", "tiny.yaml", *options]
    server = subprocess.Popen(
        command, cwd=place.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.extend(server.stderr), daemon=True)  # a full pipe would stop the server
    reader.start()
    line = server.stdout.readline()
    assert line.startswith("play tiny at http://"), (line, said)
    yield re.sub("//[^/]*:", "//127.0.0.1:", line.split()[3])
    server.send_signal(signal.SIGINT)
    assert server.wait(30) == 0
    reader.join(10)
    assert "Traceback" not in "".join(said) and "error" not in "".join(said).lower(), said


# Without a browser ---------------------------------------------------------------------------------


def test_a_taken_port_is_one_line(tiny):
    with listen("127.0.0.1", 0) as taken:
        port = str(taken.getsockname()[1])
        refused(tiny.run("dream_play_tf.py", "--browser", "--port", port), port, "taken", "--port")
    refused(tiny.run("dream_play_tf.py", "--browser", "--port", "70000"), "65535")
    refused(tiny.run("dream_play_tf.py", "--browser", "--host", "no such host"), "--host")


def test_a_page_of_another_site_is_refused():
    """Its own name for this machine, its own origin, or no token."""

    def refusal(guard, kind="http", query="", **headers):
        named = [(name.encode(), value.encode()) for name, value in headers.items()]
        return Guard.refusal(guard, {"type": kind, "headers": named, "query_string": query.encode()})

    local = Guard(None, hosts=("127.0.0.1:80", "localhost:80"))
    assert not refusal(local, host="localhost:80")
    assert not refusal(local, "websocket", host="localhost:80", origin="http://localhost:80")
    for headers in ({}, {"host": "evil.example"}, {"host": "localhost:81"}, {"host": "localhost:80", "origin": "null"}):
        assert refusal(local, **headers)
    for origin in ("", "http://evil.example", "http://127.0.0.1:80", "http://localhost:80.evil.example", "localhost:80"):
        assert refusal(local, "websocket", host="localhost:80", origin=origin)
    assert refusal(local, "websocket", host="localhost:80")
    distant = Guard(None, token="secret")
    assert not refusal(distant, host="any", query="token=secret")
    for query in ("", "token=", "token=secret2", "token=%ff", "token=x&token=secret", "secret"):
        assert refusal(distant, host="any", query=query)


def test_a_served_address_needs_its_token_and_its_origin(address):
    bare = address.split("?")[0]
    for wrong in (bare, bare + "?token=wrong"):
        with pytest.raises(urllib.error.HTTPError) as answer:
            urllib.request.urlopen(wrong)
        assert answer.value.code == 403 and b"token" in answer.value.read()
        with pytest.raises(websocket.WebSocketBadStatusException):
            Client(wrong)
    for origin in ("http://evil.example", ""):
        with pytest.raises(websocket.WebSocketBadStatusException):
            Client(address, origin=origin)
    with urllib.request.urlopen(address) as answer:
        policy, page = answer.headers["Content-Security-Policy"], answer.read().decode()
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page), "the page is self-contained"


def test_messages_are_checked():
    for good in ({"kind": "back"}, {"kind": "speed", "times": 2}, {"kind": "prompt", "number": 0}, {"kind": "pause", "on": True}):
        assert read_message(json.dumps(good)) == good
    for bad in (
        None, "", "{", "[]", "1", '{"kind": []}', '{"kind": "x"}', '{"kind": "back", "more": 1}', '{"kind": "speed"}',
        '{"kind": "speed", "times": true}', '{"kind": "speed", "times": NaN}', '{"kind": "pause", "on": 1}',
        '{"kind": "prompt", "number": 1.0}', '{"kind": "prompt", "number": -1}', "[" * 4000,
    ):  # fmt: skip
        with pytest.raises(UserError):
            read_message(bad)


def test_a_slow_browser_gets_the_newest_picture():
    async def scene():
        outbox, sent = Outbox(asyncio.get_running_loop()), []

        async def send(data):
            sent.append(data)

        for step in range(100):
            outbox.put({"step": step}, ({"step": step}, np.zeros((1, 8, 8, 3), np.uint8)))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(outbox.send(SimpleNamespace(send_text=send, send_bytes=send)), 0.2)
        return sent

    *lines, picture = asyncio.run(scene())
    assert json.loads(lines[-1]) == {"step": 99} and len(lines) == LINES
    assert b'{"step": 99}' in picture


def test_steps_that_are_due_are_one_batch():
    """No step waits for the key of another player, and the step of a new key comes earlier."""
    world = SimpleNamespace(keymap={"none": 0, "a": 1}, actions=2, stride=1, frame_size=(8, 8), folder=Path(), latent_action=None)
    session = SimpleNamespace(world=world, prompts=SimpleNamespace(gallery=lambda count: []))

    async def scene():
        room = Room(session, Config(dynamics=DynamicsConfig()))
        for name in ("one", "two", "waits", "paused"):
            guest = room.guests[name] = Guest(session, period=100)
            guest.id, guest.websocket = name, object()
        room.receive(room.guests["waits"], '{"kind": "wait", "on": true}')
        room.receive(room.guests["paused"], '{"kind": "pause", "on": true}')

        def due():
            return [(guest.id, key) for guest, key, _ in room._next()[1]]

        assert due() == [("one", "none"), ("two", "none")]
        room.receive(room.guests["two"], '{"kind": "down", "key": "a", "input": 1}')
        room.receive(room.guests["paused"], '{"kind": "step"}')
        assert due() == [("two", "a"), ("paused", "none")]
        room.receive(room.guests["two"], '{"kind": "down", "key": "1", "input": 2}')
        room.receive(room.guests["waits"], '{"kind": "down", "key": "a", "input": 1}')
        assert due() == [("waits", "a")], "two steps in one period are enough"
        room.closed = True

    asyncio.run(scene())


def test_a_player_waits_steps_goes_back_and_records(address):
    player = Client(address)
    random = player.picture()[0]["dream"]
    player.send(kind="wait", on=True)
    player.send(kind="prompt", number=2)
    header, first = player.picture()
    while header["dream"] == random:
        header, first = player.picture()
    player.send(kind="record", on=True)
    player.line("recording", True)

    def tap(key, number):
        player.send(kind="down", key=key, input=number)
        player.send(kind="up", key=key, input=number + 1)
        return player.picture()

    pictures = [tap(key, 10 * number) for number, key in enumerate("d1w", start=1)]
    assert [(header["key"], header["step"]) for header, _ in pictures] == [("d", 1), ("1", 2), ("w", 3)], "one step for a key"
    assert [header["input"] // 10 for header, _ in pictures] == [1, 2, 3], "a picture names the newest input it was computed under"
    assert all(1 <= header["code"] <= 6 and 0 < header["probability"] <= 1 for header, _ in pictures)
    player.send(kind="back")
    header, picture = player.picture()
    assert header["step"] == 2 and (picture == pictures[1][1]).all()
    player.send(kind="record", on=False)
    assert player.line("recording", False)["film"] == 2, "a step that was undone is not in the film"
    notes = json.loads(player.get("/dream.json")[1])
    assert notes["rollouts"][0]["keys"] == ["d", "1"]
    status, film = player.get("/dream.mp4")
    assert status == 200 and film[4:8] == b"ftyp"
    for _ in range(2):
        player.send(kind="back")
        _, picture = player.picture()
    assert (picture == first).all()
    player.send(kind="back")
    assert "back" in player.line("error")["error"]
    player.send(kind="step")
    header, _ = player.picture()
    assert (header["key"], header["step"]) == ("none", 1), "going back had paused the dream"
    player.send(kind="wait", on=False)
    player.send(kind="pause", on=False)
    assert player.picture()[0]["step"] == 2, "it plays on by itself"
    player.socket.close()


def test_broken_messages_and_pictures_are_answered_and_others_play_on(address):
    told = fuzz(address, messages=200, uploads=50)
    assert told["errors"] + told["closed"] == 200 and told["errors"] > 100
    assert told["refused"] + told["hung_up"] + told["read"] == 50 and told["refused"] > 25
    assert told["frames"] > 0 and told["left"]


# In a browser --------------------------------------------------------------------------------------


class Dream(Page):
    """The page of a dream."""

    def touch(self, *buttons: str) -> None:
        """Lay a finger on each of these buttons, and lift all others."""
        points = [self.run(f"(({{x, y, width, height}}) => ({{x: x + width / 2, y: y + height / 2}}))"
                           f"(document.querySelector('{button}').getBoundingClientRect())") for button in buttons]  # fmt: skip
        points = [{**point, "id": number} for number, point in enumerate(points)]
        self.call("Input.dispatchTouchEvent", type="touchStart" if points else "touchEnd", touchPoints=points)

    def facts(self) -> dict:
        """The number of the step that is shown, its key, and the dream."""
        return self.run("({...document.body.dataset})")

    def picture(self) -> str:
        return self.run("document.querySelector('canvas').toDataURL()")


@pytest.fixture(scope="module")
def pages():
    """Two tabs. They keep their places in the room from test to test."""
    with contextlib.closing(Chromium()) as chromium:
        yield Dream(chromium.address), Dream(chromium.address)


@needs_chromium
def test_keys_in_the_page_play_the_dream(address, pages):
    page = pages[0]
    page.open(address)
    for keys, shown in ((["d"], "d"), (["d", "w"], "dw"), (["ArrowLeft"], "a"), (["3"], "3")):
        before = page.picture()
        for key in keys:
            page.key(key)
        page.wait(f"document.body.dataset.key === '{shown}'")
        assert f"key {shown} " in page.run("document.getElementById('overlay').textContent")
        wait_for(lambda: page.picture() != before)  # noqa: B023
        for key in keys:
            page.key(key, "keyUp")
        page.wait("document.body.dataset.key === 'none'")
    assert page.run("document.querySelector('canvas').className") == "unsure", "the red border of a guess"
    assert "ms from key to picture" in page.run("document.getElementById('overlay').textContent")
    page.key("d")
    page.wait("document.body.dataset.key === 'd'")
    page.run("window.dispatchEvent(new Event('blur'))")
    page.wait("document.body.dataset.key === 'none'")
    page.key("d", "keyUp")

    page.key(" ")
    page.wait("state.paused")
    step = int(page.facts()["step"])
    page.key(".")
    page.wait(f"document.body.dataset.step == {step + 1}")
    page.key("Backspace")
    page.wait(f"document.body.dataset.step == {step}")
    page.key("+")
    page.wait("state.speed === 2")
    page.key("-")
    page.wait("state.speed === 1")
    dream = page.facts()["dream"]
    page.key("r")
    page.wait(f"document.body.dataset.dream !== '{dream}' && !state.paused")
    canvas = "document.querySelector('canvas')"
    side = page.run(f"{canvas}.getBoundingClientRect().width")
    assert side % 64 == 0 and side > 64, "a pixel of the dream is a whole number of the screen's"


@needs_chromium
def test_two_pages_play_two_dreams_at_once(address, pages):
    for page in pages:
        page.open(address)
    first, second = (page.facts() for page in pages)
    assert first["dream"] != second["dream"] and pages[0].picture() != pages[1].picture()
    for page, before in zip(pages, (first, second)):
        page.wait(f"document.body.dataset.step > {before['step']}")
    pages[0].key("d")
    pages[0].wait("document.body.dataset.key === 'd'")
    assert pages[1].facts()["key"] == "none", "a key is for the dream of its own page"
    pages[0].key("d", "keyUp")


@needs_chromium
def test_a_page_comes_back_to_its_dream_after_a_cut(address, pages):
    page = pages[0]
    page.open(address)
    before = page.facts()
    page.run("socket.close()")
    page.wait("document.getElementById('news').textContent.includes('again')")
    page.wait("socket.readyState === 1 && facts.again")
    page.wait(f"document.body.dataset.step > {before['step']}")
    assert page.facts()["dream"] == before["dream"]
    page.open(address)
    assert page.facts()["dream"] == before["dream"], "also after the page was loaded again"


@needs_chromium
def test_the_buttons_of_a_phone(address, pages):
    page = pages[0]
    page.open(address, 360, 640, phone=True)
    assert page.run("document.documentElement.scrollWidth <= 360 && document.documentElement.scrollHeight <= 640")
    boxes = page.run(
        "[...document.querySelectorAll('button, canvas')].filter((each) => each.checkVisibility())"
        ".map((each) => each.getBoundingClientRect())"
        ".map(({left, top, right, bottom}) => [left, top, right, bottom])"
    )
    assert len(boxes) >= 8 and all(0 <= left < right <= 360 and 0 <= top < bottom <= 640 for left, top, right, bottom in boxes)
    page.touch("#keys [aria-label=d]", "#keys [aria-label=w]")
    page.wait("document.body.dataset.key === 'dw'")
    page.touch()
    page.wait("document.body.dataset.key === 'none'")
    dream = page.facts()["dream"]
    page.run("document.getElementById('start').click()")
    page.wait("[...document.querySelectorAll('#gallery img')].every((image) => image.naturalWidth === 64)")
    assert page.run("document.querySelector('#prompts').scrollWidth <= 360")
    page.run("document.querySelector('#gallery button').click()")
    page.wait(f"document.body.dataset.dream !== '{dream}'")
    dream = page.facts()["dream"]
    page.run("document.getElementById('start').click(), document.getElementById('fill').click()")
    page.run("document.getElementById('drawn').click()")
    page.wait(f"document.body.dataset.dream !== '{dream}'")
    page.run("upload(new Blob(['no picture']))")
    page.wait("document.getElementById('news').textContent.includes('no picture')")
    page.wait("document.body.dataset.step > 3")
    assert page.facts()["dream"] != dream


# Last: it takes all places, which stay taken for a minute.


def test_a_full_room_says_so_and_a_dream_is_kept_for_its_player(address):
    players = []
    with pytest.raises(websocket.WebSocketConnectionClosedException, match="places are taken"):
        for _ in range(GUESTS + 1):
            players.append(Client(address))
    dreams = [player.picture()[0]["dream"] for player in players]
    assert len(set(dreams)) == len(dreams) > 1, "everyone has an own dream"
    one = players[0]
    one.socket.close()
    again = Client(address, one.hello["id"])
    assert again.hello["again"] and again.picture()[0]["dream"] == dreams[0]
    third = Client(address, one.hello["id"])  # the same dream in two tabs
    with pytest.raises(websocket.WebSocketConnectionClosedException, match="another tab"):
        while True:
            again.read()
    third.socket.close()
    for player in players[1:]:
        assert player.picture()[0]["step"] >= 0
        player.socket.close()
