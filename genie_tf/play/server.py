"""Play a trained world in a browser: one page, for a remote machine, a class or phones.

The page and the server talk over one websocket. The page sends JSON messages: see `genie_tf.play.room.KINDS`. The server sends JSON
lines, and the frames of each step as a binary message: two bytes for the length of a JSON header, the header, and the frames as
one PNG, one above another.
"""

import asyncio
import base64
import contextlib
import errno
import gc
import hashlib
import json
import logging
import re
import secrets
import socket
import warnings
from pathlib import Path
from urllib.parse import parse_qs

import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from tqdm import tqdm

from genie_tf.config import Config
from genie_tf.episodes.video import encode_video
from genie_tf.errors import UserError
from genie_tf.play.film import enlarge
from genie_tf.play.room import GUESTS, Guest, Room, png
from genie_tf.play.session import BATCHES, Session, press_together

IDLE = 600.0  # seconds without a message after which a guest loses the place
MESSAGE = 4096  # bytes of a message of the page
UPLOAD = 8 * 2**20  # bytes of a picture
UPLOAD_TIME = 60.0  # seconds
BUFFER = 2**16  # bytes that the system keeps for a slow browser: in a larger buffer the newest frame would wait behind old ones
FILM_SIDE = 256  # pixels of a film, at least, where a whole number of them shows one pixel of a frame
CONNECTIONS = 64  # of all browsers together
LOOPBACK = ("127.0.0.1", "localhost", "::1")
PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"GIF8", b"BM")  # other decoders of Pillow start programs, or are rarely tested
ELSEWHERE, IDLED, FULL = 4001, 4002, 4003  # why the server closes a websocket: page.html knows these numbers


class Guard:
    """An ASGI application that passes on only what may reach the other one.

    Args:
        app: The other one.
        token: The token that every address must have, as `?token=…`; empty for none.
        hosts: The names by which a browser may call this server. Without a token, other names are refused: a page of another site
            could give its own name the address of this machine. Empty for all.
    """

    def __init__(self, app, token: str = "", hosts: tuple[str, ...] = ()):
        self.app, self.token, self.hosts = app, token, hosts

    async def __call__(self, scope, receive, send) -> None:
        refusal = self.refusal(scope)
        if not refusal:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocket(scope, receive, send).close(1008)  # before it is accepted: the browser sees code 403
        else:
            await PlainTextResponse(refusal + "\n", 403)(scope, receive, send)

    def refusal(self, scope) -> str:
        """Why a request is refused; empty if it is not."""
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host, origin = headers.get(b"host", ""), headers.get(b"origin")
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if self.hosts and host not in self.hosts:
            return f"this server is {self.hosts[0]}, and is not known by this name"
        if self.token and not secrets.compare_digest(given.encode(), self.token.encode()):
            return "the address lacks the right token: copy the whole address that the server printed"
        if (origin is not None or scope["type"] == "websocket") and (origin or "").partition("://")[2] != host:
            return "the page of another site may not play here"
        return ""


def make_app(room: Room) -> Starlette:
    """The pages of a room."""
    page = (Path(__file__).parent / "page.html").read_text()
    parts = {tag: re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL) for tag in ("script", "style")}
    hashes = {
        tag: " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'" for part in every)
        for tag, every in parts.items()
    }
    policy = f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; img-src 'self' data: blob:; "
    policy += "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    headers = {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
    thumbnails = [png(prompt.frames[-1:]) for prompt in room.gallery]
    at_a_time = asyncio.Semaphore(1)  # large pictures and films take much memory

    async def index(request: Request) -> Response:
        return HTMLResponse(page, headers=headers)

    async def thumbnail(request: Request) -> Response:
        number = request.path_params["number"]
        if not 1 <= number <= len(thumbnails):
            return refuse(f"the gallery has {len(thumbnails)} pictures", 404)
        return Response(thumbnails[number - 1], media_type="image/png")

    def guest_of(request: Request) -> Guest | None:
        return room.guests.get(request.query_params.get("id", ""))

    def refuse(why: str, status: int) -> Response:
        return JSONResponse({"error": why}, status)

    async def picture(request: Request) -> Response:
        guest, data = guest_of(request), bytearray()
        if guest is None:
            return refuse("this dream has ended: load the page again", 404)
        too_large = f"a picture has at most {UPLOAD // 2**20} MiB"
        if int(request.headers.get("content-length", 0)) > UPLOAD:
            return refuse(too_large, 413)
        try:
            async with guest.uploading, asyncio.timeout(UPLOAD_TIME):  # one at a time
                async for chunk in request.stream():
                    data += chunk
                    if len(data) > UPLOAD:
                        return refuse(too_large, 413)
            if not data.startswith(PICTURES):
                raise UserError("this is no picture: give a PNG, JPEG, WebP, GIF or BMP file")
            async with at_a_time:
                prompt = await asyncio.to_thread(room.first.prompts.of_pictures, [(bytes(data), "your picture")])
            room.order(guest, lambda: guest.begin(prompt))
        except (TimeoutError, ClientDisconnect):
            return refuse("the picture did not arrive", 408)
        except UserError as error:
            return refuse(str(error), 400)
        with room.changed:
            guest.paused = False
            guest.tell_state()
        return JSONResponse({})

    async def film(request: Request) -> Response:
        guest, form = guest_of(request), request.path_params["form"]
        if guest is None or guest.film is None or form not in ("mp4", "json"):
            return refuse("there is no film", 404)
        frames, notes = guest.film
        if form == "mp4":
            scale = max(FILM_SIDE // min(frames.shape[1:3]), 1)
            async with at_a_time:
                data = await asyncio.to_thread(lambda: encode_video(enlarge(frames, scale), room.config.play.frames_per_second, 12))
        else:
            data = json.dumps(notes).encode()
        disposition = {"Content-Disposition": f'attachment; filename="dream.{form}"', "Cache-Control": "no-store"}
        return Response(data, media_type="video/mp4" if form == "mp4" else "application/json", headers=disposition)

    async def play(websocket: WebSocket) -> None:
        await websocket.accept()
        place = room.join(websocket.query_params.get("id", ""), websocket)
        if place is None:
            await websocket.close(FULL, f"all {GUESTS} places are taken")
            return
        guest, before = place
        outbox, idle = guest.outbox, False
        sender = asyncio.create_task(outbox.send(websocket))
        try:
            if before is not None:
                await close(before, ELSEWHERE, "this dream goes on in another tab")
            while True:
                message = await asyncio.wait_for(websocket.receive(), IDLE)
                if message["type"] == "websocket.disconnect":
                    return
                try:
                    room.receive(guest, message.get("text"))
                except UserError as error:
                    outbox.put({"error": str(error)})
        except TimeoutError:
            idle = True
            await close(websocket, IDLED, "nobody played")
        finally:
            sender.cancel()
            room.leave(guest, websocket, forget=idle)

    async def close(websocket: WebSocket, code: int, why: str) -> None:
        with contextlib.suppress(RuntimeError, WebSocketDisconnect, TimeoutError):  # it may be closed already, or not listen
            await asyncio.wait_for(websocket.close(code, why), 1)

    routes = [
        Route("/", index),
        Route("/gallery/{number:int}.png", thumbnail),
        Route("/picture", picture, methods=["POST"]),
        Route("/dream.{form}", film),
        WebSocketRoute("/play", play),
    ]
    return Starlette(routes=routes)


def listen(host: str, port: int) -> socket.socket:
    """Take a port.

    Raises:
        UserError: it is taken, or it can't be taken on this host.
    """
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OverflowError as error:
        raise UserError(f"--port {port}: a port is a number from 0 to 65535") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"port {port} is taken: name another one, --port {port + 1}") from error
        raise UserError(f"can't listen at {host}, port {port} ({error.strerror}): name another --host or --port") from error
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    return listening


def address_of(host: str) -> str:
    """The name of a host for a browser. For "all addresses of this machine", it is the one by which it reaches others."""
    if host == "::":
        return socket.gethostname()
    if host not in ("0.0.0.0", ""):
        return f"[{host}]" if ":" in host else host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
            return probe.getsockname()[0]
        except OSError:
            return socket.gethostname()


def compile_batches(first: Session, config: Config) -> None:
    """Compute a step of each size of batch, which compiles it, so that nobody waits for that later."""
    sessions = [Session(first.world, first.prompts, config.play) for _ in range(GUESTS)]
    for session in sessions:
        session.reset()
    for size in tqdm(BATCHES, desc="preparing for players", unit=" batches"):
        press_together(sessions[:size], ["1"] * size)
    gc.freeze()  # as in `Scene.prepare`


def serve(config: Config, host: str, port: int, pictures: tuple[Path, ...] = ()) -> None:
    """Serve the page until Ctrl-C, and print its address.

    Args:
        config: The world; sections `dynamics` and `play`.
        host: Name or address of this machine at which to listen. If other machines can reach it, the page's address has a token.
        port: Port; 0 for any that is free.
        pictures: See `Prompts`.

    Raises:
        UserError: the port is taken, a model or the recording is missing, or a file is no picture.
    """
    with listen(host, port) as listening:
        port = listening.getsockname()[1]
        first = Session.load(config, pictures)
        compile_batches(first, config)
        room = Room(first, config)
        local = host in LOOPBACK
        token = "" if local else secrets.token_urlsafe(16)
        hosts = tuple(f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")) if local else ()
        if local and port == 80:
            hosts += ("127.0.0.1", "localhost", "[::1]")  # browsers leave this port out
        # No news for the terminal: a text that is no UTF-8 or a picture that is too large, both of which are refused, and a
        # browser that is so slow at the end that its connection is cut.
        warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
        logging.getLogger("uvicorn.error").addFilter(lambda record: not re.search("UTF-8|graceful shutdown", record.getMessage()))
        server = uvicorn.Server(
            uvicorn.Config(
                Guard(make_app(room), token, hosts),
                log_level="error", access_log=False, ws="websockets-sansio", ws_max_size=MESSAGE, ws_per_message_deflate=False,
                lifespan="off", limit_concurrency=CONNECTIONS, timeout_graceful_shutdown=1, server_header=False,
            )
        )  # fmt: skip
        room.when_failed = lambda: setattr(server, "should_exit", True)
        query = f"?token={token}" if token else ""
        room.thread.start()
        try:
            print(f"play {config.world} at http://{address_of(host)}:{port}/{query}   (Ctrl-C ends it)", flush=True)
            server.run(sockets=[listening])
        except KeyboardInterrupt:  # the usual end
            print("closed")
        finally:
            room.close()
        if room.failure is not None:
            raise room.failure
