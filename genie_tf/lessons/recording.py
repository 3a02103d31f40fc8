"""Figures of the first notebook: what is recorded."""

import dataclasses
from pathlib import Path

import numpy as np
from keras import ops
from matplotlib.figure import Figure

from genie_tf.config import Config
from genie_tf.episodes.dataset import Episodes
from genie_tf.episodes.recorded import controls_in
from genie_tf.episodes.recorder import controls_of, make_agent, make_game
from genie_tf.layers.registration import register
from genie_tf.lessons.panels import WIDTH, Table, pictures
from genie_tf.training.backend import compiled

PLAYERS = 16  # environments of an agent
STEPS = 200  # game steps


def fields(config: Config) -> Table:
    """What a row of an episode holds."""
    row = Episodes(config.record_folder("train")).episodes[0].rows()[0]
    meanings = {
        "frame": "the picture at this step",
        "action": "the action that is taken at this frame; it leads to the next row",
        "reward": "the reward for this action",
        "first": "whether the episode begins here",
        "level": "the seed of the level",
    }
    return Table({
        name: {"type": f"{row[name].dtype} {row[name].shape or ''}", "here": str(row[name]) if row[name].ndim == 0 else "a picture",
               "meaning": meanings[name]}
        for name in row.dtype.names
    })  # fmt: skip


def episode(config: Config, count: int = 20) -> Figure:
    """Frames of one episode at which an action begins, with the key that was held after each."""
    game = config.record
    held = max(game.hold // (game.every or game.hold), 1)
    recording = Episodes(config.record_folder("train"), held)
    longest = int(np.argmax(recording.lengths))
    rows = recording.starts[longest] + np.arange(min(count, recording.lengths[longest]))
    controls = controls_in(recording)
    names = [list(controls)[key] if controls else "?" for key in (controls.of_action[recording.action[rows]] if controls else rows)]
    frames, half = list(recording.frames(rows)), -(-len(rows) // 2)
    figure = pictures({"": frames[:half], " ": frames[half:]}, [""] * half)
    for axes, name in zip([one for one in figure.axes if one.axison], names):
        axes.set_title(f"then {name}", fontsize=8)
    return figure


def agents(config: Config, names: tuple[str, ...]) -> Figure:
    """How far random agents come: the way of the picture to the right and to the left, in one film for each player.

    Agents that hold their direction see more of a level. What no agent shows, no world model learns.
    """
    settings = config.record
    figure = Figure(figsize=(WIDTH, 2.6), layout="constrained")
    shift_of = compiled(register)
    for axes, name in zip(figure.subplots(1, len(names), sharey=True, squeeze=False)[0], names):
        chosen = dataclasses.replace(settings, agent=name)
        game = make_game(chosen, (0, PLAYERS), PLAYERS, seed=0)
        agent = make_agent(chosen, controls_of(chosen), Path(), PLAYERS, [0])
        game.observe()
        before, ways, alive = game.frames().copy(), [np.zeros(PLAYERS)], np.ones(PLAYERS, bool)
        for _ in range(STEPS // settings.hold):
            action = agent.act(before, np.arange(PLAYERS))
            for _ in range(settings.hold):
                game.act(action)
                alive &= ~game.observe()["first"]
            now = game.frames().copy()
            shift = ops.convert_to_numpy(shift_of(ops.convert_to_tensor(before), ops.convert_to_tensor(now)))
            ways.append(np.where(alive, ways[-1] - shift[:, 0], np.nan))
            before = now
        game.close()
        axes.plot(settings.hold * np.arange(len(ways)), np.array(ways), linewidth=1)
        axes.set_title(f"--record.agent {name}", fontsize=9)
        axes.set_xlabel("game steps", fontsize=8)
        axes.tick_params(labelsize=7)
    figure.axes[0].set_ylabel("pixels to the right", fontsize=8)
    return figure


def games(config: Config, names: tuple[str, ...]) -> Figure:
    """A frame of each of these games."""
    shown = []
    for name in names:
        game = make_game(dataclasses.replace(config.record, game=name, controls=None), (0, 1), 1, seed=0)
        game.observe()
        shown.append(game.frames()[0].copy())
        game.close()
    half = -(-len(names) // 2)
    figure = pictures({"": shown[:half], " ": shown[half:]}, [""] * half)
    for axes, name in zip([one for one in figure.axes if one.axison], names):
        axes.set_title(name, fontsize=8)
    return figure
