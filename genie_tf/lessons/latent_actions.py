"""Figures of the second notebook: how a code comes to stand for a key."""

import keras
import numpy as np
from keras import ops
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from genie_tf.config import Config
from genie_tf.episodes.dataset import Episodes
from genie_tf.episodes.recorded import controls_in, recorded_with
from genie_tf.evaluation.game import look_different, play_on
from genie_tf.evaluation.metrics import perplexity
from genie_tf.latent_action.keymap import load_keymap
from genie_tf.latent_action.motion_rank import MotionRankModel
from genie_tf.latent_action.st_transformer import STLatentActionModel, STSettings
from genie_tf.layers.registration import reach_in
from genie_tf.lessons.panels import WIDTH, bars, left_out, picture, pictures
from genie_tf.stages import codes_of, held_frames, latent_action_file, latent_actions_of, load_latent_action
from genie_tf.training.backend import compiled, in_batches

MANY = 2000  # transitions
AXES = ("columns", "rows")


def every_key(config: Config, moments: int = 3) -> Figure:
    """The same moments of the game under every key: what an action does, and what happens whatever the action is."""
    recording = Episodes(config.record_folder("test"), held_frames(config, guided=True))
    game, controls = recorded_with(recording), controls_in(recording)
    if game is None or controls is None:
        return left_out("it needs a recording of a game, because it plays the game again")
    rows = recording.windows(3, before=2).spread(8 * moments)
    actions = np.broadcast_to(controls.first[:, None], (len(rows), len(controls), 1))
    played = play_on(game, recording, rows, actions, "playing every key")
    ends = played["frames"][:, :, 0]
    different = look_different(ends[:, :, None], ends[:, None]).sum(axis=(1, 2)) * played["alive"].all(axis=(1, 2))
    best = np.argsort(-different, kind="stable")[:moments]  # the moments at which the keys differ most
    shown = {f"moment {i + 1}": [recording.frames(rows[m : m + 1])[0], *ends[m]] for i, m in enumerate(best)}
    return pictures(shown, ["now", *(f"then {name}" for name in controls)])


def steps_to_a_code(config: Config, count: int = 3) -> Figure:
    """The default model, step by step: the movement, its rank among the expected ones, the second opinion, the code."""
    model, _ = load_latent_action(config)
    if not isinstance(model, MotionRankModel):
        return left_out("these are the steps of motion_rank, and this world has another latent action model")
    recording = Episodes(config.record_folder("validation"), held_frames(config))
    transitions, controls = recording.windows(2, before=3).spread(count + 2)[1:-1], controls_in(recording)
    held = (
        ["?"] * count
        if controls is None
        else [list(controls)[key] for key in controls.of_action[recording.action[transitions].astype(int)]]
    )
    inputs = model.transitions(recording, config.model_folder)(transitions)
    tensors = keras.tree.map_structure(ops.convert_to_tensor, inputs)
    steps = keras.tree.map_structure(ops.convert_to_numpy, model.explain(tensors))
    codes, reach = ops.convert_to_numpy(model.code(tensors)), reach_in(model.frame_size)
    figure = Figure(figsize=(WIDTH, 1.9 * count), layout="constrained")
    panels = figure.subplots(count, 6, squeeze=False, width_ratios=(1, 1, 1.5, 1.2, 1.5, 1.2))
    for i, line in enumerate(panels):
        columns, rows = inputs["motion"][i, -1, :2]
        picture(line[0], inputs["frames"][i, 1], f"frame t: {held[i]} is held")
        picture(line[1], inputs["frames"][i, 2], f"frame t + 1: code {codes[i] + 1}")
        for (axis, moved), expected, told in zip(zip(AXES, (columns, rows)), (line[2], line[4]), (line[3], line[5])):
            chances = steps["expected"][axis][i]
            seen = np.flatnonzero(chances > 0.002)
            bars(expected, chances, moved + reach[axis], "tab:gray")
            expected.set_xlim(min(seen[0], moved + reach[axis]) - 2, max(seen[-1], moved + reach[axis]) + 2)
            ticks = [tick for tick in expected.get_xticks() if tick == int(tick)]
            expected.set_xticks(ticks, [f"{tick - reach[axis]:.0f}" for tick in ticks])
            expected.set_xlim(min(seen[0], moved + reach[axis]) - 2, max(seen[-1], moved + reach[axis]) + 2)
            expected.set_title(f"{axis}: {moved:+.0f} px, rank {steps['first'][axis][i]:.2f}", fontsize=8)
            parts = len(steps["told"][axis][i])
            bars(told, steps["told"][axis][i], steps["rank"][axis][i] * parts - 0.5, "tab:green")
            told.set_xticks([-0.5, parts - 0.5], ["0", "1"])
            told.set_title(f"from the pixels: {steps['rank'][axis][i]:.2f}", fontsize=8)
    return figure


def codes_and_keys(config: Config) -> Figure:
    """How often each key was held under each latent action, as shares of the key. A bar chart if the keys are unknown."""
    recording = Episodes(config.record_folder("validation"), held_frames(config))
    codes = latent_actions_of(config, {"validation": recording})["validation"]
    figure = Figure(figsize=(WIDTH / 2, 3), layout="constrained")
    rows = recording.windows(2, before=1)[:]
    codes_by_key(figure.subplots(), recording, rows, codes[rows], codes_of(latent_action_file(config)))
    return figure


def codes_by_key(axes: Axes, recording: Episodes, rows: np.ndarray, codes: np.ndarray, count: int) -> None:
    """The table of `codes_and_keys`, of `codes` int (n,) at `rows` int (n,). `count` is the number of codes."""
    controls = controls_in(recording)
    axes.set_ylabel("latent action", fontsize=8)
    if controls is None:
        axes.barh(np.arange(1, count + 1), np.bincount(codes, minlength=count))
        axes.set_xlabel("transitions", fontsize=8)
        return
    keys = controls.of_action[recording.action[rows].astype(int)]
    shares = np.array([np.bincount(codes[keys == key], minlength=count) for key in range(len(controls))], float)
    shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares.T, vmin=0, vmax=1, cmap="Blues", aspect="auto")
    for key, code in np.ndindex(shares.shape):
        colour = "white" if shares[key, code] > 0.6 else "black"
        axes.text(key, code, f"{100 * shares[key, code]:.0f}", ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(len(controls)), list(controls), fontsize=8)
    axes.set_yticks(range(count), [str(code + 1) for code in range(count)], fontsize=8)
    axes.set_xlabel("key that was held; numbers are % of its transitions", fontsize=8)


def collapse(config: Config, steps: int) -> Figure:
    """The world's own codes, and those of the paper's model after a short training: few codes, and no key has one of its own.

    Nothing is saved.
    """
    train = Episodes(config.record_folder("train"), held_frames(config))
    test, count = Episodes(config.record_folder("validation"), train.every), codes_of(latent_action_file(config))
    settings = STSettings(codes=count, width=64, depth=1, heads=4, batch_size=16)
    keras.utils.set_random_seed(0)
    model = STLatentActionModel.from_settings(settings, train.frame_size)
    model.build()
    model.compile(optimizer=keras.optimizers.Adam(settings.learning_rate))
    examples, rng = STLatentActionModel.examples(train, config.model_folder, settings), np.random.default_rng(0)
    for _ in range(steps):
        model.train_on_batch(examples.draw(rng, settings.batch_size))
    rows = test.windows(2, before=1).spread(MANY)
    code, take = compiled(model.code), model.transitions(test, config.model_folder)
    collapsed = in_batches(code, lambda some: take(rows[some]), len(rows), 64).astype(int)
    own = latent_actions_of(config, {"validation": test})["validation"][rows]
    figure = Figure(figsize=(WIDTH, 3), layout="constrained")
    for axes, codes, name in zip(figure.subplots(1, 2), (own, collapsed), ("this world", f"st_transformer, {steps} steps")):
        codes_by_key(axes, test, rows, codes, count)
        axes.set_title(f"{name}: perplexity {perplexity(codes):.1f} of {count}", fontsize=9)
    return figure


def keys(config: Config) -> dict[str, int]:
    """The keymap: from each key to its latent action, by the number key that plays it too."""
    file = latent_action_file(config)
    keymap = load_keymap(file.parent, codes_of(file))
    return {name: code + 1 for name, code in keymap.items()}
