"""Play a trained world without a display: given keys, a recording, or an agent; and write a film."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from genie_tf.config import Config
from genie_tf.episodes.agents import TrainedAgent
from genie_tf.episodes.dataset import Episodes
from genie_tf.episodes.recorded import controls_in
from genie_tf.errors import UserError
from genie_tf.pictures import GAP
from genie_tf.play.film import check_target, enlarge, write_film
from genie_tf.play.keys import keys_of
from genie_tf.play.prompts import Prompt
from genie_tf.play.recording import read_recording, replayed
from genie_tf.play.session import Session

PROMPT = 4  # recorded actions of the prompt of `play_recorded`


def play_keys(config: Config, text: str, out: str, pictures: tuple[Path, ...] = ()) -> None:
    """Play the keys of `text` and write the prompt and the rollout to `out`. Each key is held as long as in the recording.

    Raises:
        UserError: a key is unknown, `out` can't be written, a model is missing, or a file is no picture.
    """
    keys, target = keys_of(text), Path(out)
    check_target(target)
    session = Session.load(config, pictures)
    for key in keys:
        session.action_of(key)
    prompt = session.reset()
    frames = [session.press(key).frames for key in keys for _ in range(session.held)]
    _write(config, target, prompt, frames)


def play_policy(config: Config, policy: str, steps: int, out: str, pictures: tuple[Path, ...] = ()) -> None:
    """Let an agent play `steps` actions and write the prompt and the rollout to `out`.

    Args:
        config: The world; sections `dynamics` and `play`.
        policy: "random", or the file of a policy of `agent_training.py`.
        steps: Number of actions. Each is held as long as in the recording.
        out: See `play_keys`.
        pictures: See `play_keys`.

    Raises:
        UserError: as `play_keys`, or there is no policy, or it has other actions than the world.
    """
    target = Path(out)
    check_target(target)
    session = Session.load(config, pictures)
    choose = _chooser(config, policy, session)
    prompt, frames = session.reset(), []
    for _ in tqdm(range(steps), desc=f"playing {policy}", unit=" actions"):
        key = choose(session.frame)
        frames += [session.press(key).frames for _ in range(session.held)]
    _write(config, target, prompt, frames)


def play_recorded(config: Config, steps: int, out: str) -> None:
    """Play the actions of a recorded moment, and write the recording and, to its right, the dream to `out`.

    The keys are the recorded ones. If the recording lacks them, the latent actions are played that the world infers from it. If no
    recorded episode is long enough for `steps`, the longest one is played to its end.

    Args:
        config: The world; sections `dynamics` and `play`.
        steps: Number of actions, each as long as in the recording.
        out: See `play_keys`.

    Raises:
        UserError: as `play_keys`, or no recorded episode is longer than the prompt.
    """
    target = Path(out)
    check_target(target)
    session = Session.load(config)
    world, recorded = session.world, session.prompts.episodes
    assert recorded is not None  # there are no pictures
    episodes = Episodes(recorded.folder, session.held * world.stride)
    steps = min(steps, max(1, int(episodes.lengths.max()) - PROMPT))
    rows = episodes.windows(PROMPT + steps).draw(session.rng, 1)
    film = episodes.films(rows, PROMPT + steps)
    actions = episodes.action[rows + np.arange(PROMPT + steps - 1)].astype(int).repeat(session.held)
    controls = controls_in(episodes)
    if (
        controls is not None
        and np.isin(actions, np.flatnonzero(controls.of_action >= 0)).all()
        and set(controls) <= set(world.keymap)
    ):
        keys = [controls.names[index] for index in controls.of_action[actions]]
    else:
        keys = [str(code + 1) for code in world.infer_actions(film)[0]]
    given = (PROMPT - 1) * session.held  # steps of the prompt
    prompt = film[0, : given * world.stride + 1]
    led_by = actions[:given] if world.latent_action is None else None
    session.reset(Prompt(prompt, led_by, f"frame {rows[0]} of the recording"))
    dreamt = [session.press(key).frames for key in tqdm(keys[given:], desc="playing the recorded actions", unit=" steps")]
    dream = np.concatenate([prompt, *dreamt])
    beside = np.pad(film[0], ((0, 0), (0, 0), (0, GAP), (0, 0)), constant_values=255)
    write_film(target, enlarge(np.concatenate([beside, dream], axis=2), config.play.scale), config.play.frames_per_second)
    print(
        f"wrote {target}: the recording, and beside it the dream, {len(prompt)} frames of prompt, {len(dream) - len(prompt)} dreamt"
    )


def _chooser(config: Config, policy: str, session: Session):
    """Function from a frame to a key."""
    names = list(session.world.keymap)
    if policy == "random":
        return lambda frame: names[session.rng.integers(len(names))]
    agent = TrainedAgent(Path(policy), config.play.seed)
    known = agent.model.action_space.n
    if known == len(names):  # of agent_training.py --in_dream
        of_action = names
    else:
        controls = controls_in(session.prompts.episodes) if session.prompts.episodes is not None else None
        if controls is None or known < controls.count or not set(controls) <= set(names):
            raise UserError(f"{policy} chooses among {known} actions, and {config.world} has {len(names)}: train an agent for it")
        of_action = [controls.names[index] if index >= 0 else controls.names[0] for index in controls.of_action]
        of_action += [controls.names[0]] * (known - len(of_action))
    return lambda frame: of_action[int(agent.act(frame[None], np.zeros(1, int))[0])]


def replay(config: Config, file: str, out: str) -> None:
    """Dream a recording of the window or of the browser again, and write it to `out`.

    Raises:
        UserError: the recording is missing, damaged, or of another world, or `out` can't be written.
    """
    target = Path(out)
    check_target(target)
    session = Session.load(config)
    rollouts = read_recording(Path(file), session)
    count = sum(len(rollout.keys) - rollout.begin for rollout in rollouts)
    frames = list(tqdm(replayed(session, rollouts), total=count, desc=f"replaying {file}", unit=" steps"))
    _write(config, target, np.zeros((0, *session.world.frame_size, 3), np.uint8), frames)


def _write(config: Config, target: Path, prompt: np.ndarray, frames: list[np.ndarray]) -> None:
    film = np.concatenate([prompt, *frames])
    write_film(target, enlarge(film, config.play.scale), config.play.frames_per_second)
    print(f"wrote {target}: {len(prompt)} frames of prompt, {len(film) - len(prompt)} dreamt")
