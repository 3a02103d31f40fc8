"""Play a trained world in a window.

The model runs in a thread of its own, one piece of work at a time. The main thread reads the keys, decides what comes next, and
draws. So the window answers while the model computes.
"""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from genie_tf.config import IDM_MODEL, Config
from genie_tf.latent_action.keymap import load_keymap
from genie_tf.play.calibration import name_actions
from genie_tf.play.player import Player
from genie_tf.play.scene import Scene
from genie_tf.play.session import Session, guess_threshold
from genie_tf.play.window import Window
from genie_tf.training.checkpoints import latest_checkpoint

LOOK = 1 / 60  # seconds between two drawings
POLL = 0.003  # seconds between two looks at the keys
REFRESH = 0.25  # seconds after which the figures are drawn anew


def play(config: Config, pictures: tuple[Path, ...] = (), recording: str = "") -> None:
    """Open the window. The key h shows all keys.

    Args:
        config: The world; sections `dynamics` and `play`.
        pictures: See `Prompts`.
        recording: A recording to show before play goes on from its end; "" for none.

    Raises:
        UserError: there is no display, or a model is missing, or the recording is missing, damaged, or of another world.
    """
    instead = 'play given keys instead, --actions "dddwwdaa" --out dream.gif'
    with ThreadPoolExecutor(1, "model") as thread:
        scene = thread.submit(Scene.load, config, pictures, recording).result()
        size, known = scene.session.world.frame_size, scene.session.world.keymap
        player = Player(config.play, scene, guess_threshold(scene.session.world))
        with Window(f"dreaming {config.world}", size, config.play.scale, known, instead) as window:
            begun = _run(config, player, window, thread)
        for job in (begun, thread.submit(scene.close)):
            if job is not None and job.result().news:
                print(job.result().news)


def _run(config: Config, player: Player, window: Window, thread: ThreadPoolExecutor) -> Future | None:
    """Read keys, start work, take its results and draw, until the user leaves. Returns the work that is not finished."""
    job: Future | None = thread.submit(player.scene.prepare)
    view, drawn = player.view, 0.0
    while not player.left:
        now = time.perf_counter()
        player.press(window.keys(), now)
        if job is not None and job.done():
            player.take(job.result(), now)  # an error of the thread goes on from here
            job = None
        player.advance(now)
        if job is None and player.calibrates and not player.wanted:
            _calibrate(config, player, window)
            job = thread.submit(player.scene.reset, player.view != "dream")
        elif job is None:
            work = player.next_work(now)
            job = thread.submit(work) if work is not None else None
        if player.view != view:
            view = player.view
            window.widen(2 if view == "both" else 1)
        now = time.perf_counter()
        if now - drawn >= (LOOK if player.changed or window.stale else REFRESH):
            window.draw(**player.look(now))
            drawn = time.perf_counter()
            player.drawn(drawn)
        time.sleep(POLL)
    return job


def _calibrate(config: Config, player: Player, window: Window) -> None:
    """Ask for the keys in the same window. The thread of the model has nothing to do meanwhile."""
    session = player.scene.session
    asked = Session(session.world, session.prompts, config.play)
    if name_actions(config, asked, window):
        checkpoint = latest_checkpoint(session.world.folder, IDM_MODEL)
        assert checkpoint is not None  # the session has loaded this model
        session.world.keymap = load_keymap(checkpoint, session.world.actions)
        player.say("play goes on with the new keys", time.perf_counter())
    window.watch(session.world.keymap)
    player.learn_keys()
    player.calibrates, player.left = False, window.closed
