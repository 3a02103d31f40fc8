"""Figures of the fourth notebook: how the next tokens are learnt and drawn."""

import keras
import matplotlib
import numpy as np
from keras import ops
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from genie_tf.config import Config, world_model
from genie_tf.dynamics.maskgit import MaskGitDynamics, training_masks
from genie_tf.dynamics.sampling import uniform_noise
from genie_tf.episodes.dataset import Episodes
from genie_tf.layers.st_block import distances
from genie_tf.lessons.panels import WIDTH, left_out, picture
from genie_tf.lessons.tokens import films
from genie_tf.stages import latent_actions_of, load_tokenizer, tokenized
from genie_tf.training.backend import compiled
from genie_tf.training.checkpoints import load_checkpoint
from genie_tf.world import World

TOKENS = "viridis"
SEQUENCES = 256  # in the curve of the memory


def _dynamics(config: Config):
    return load_checkpoint(config.model_folder, world_model(config.dynamics.actions == "true"), "dream_train_tf.py")[0]


def _examples(config: Config):
    """Validation sequences of the dynamics."""
    tokenizer, _ = load_tokenizer(config)
    recording = Episodes(config.record_folder("validation"), tokenizer.stride)
    actions = recording.action if config.dynamics.actions == "true" else latent_actions_of(config, {"": recording})[""]
    model = _dynamics(config)
    return model, type(model).examples(recording, tokenized(config, {"": recording})[""], actions, config.dynamics, tokenizer.codes)


def _colours(tokens: np.ndarray, codes: int) -> np.ndarray:
    """A colour for every token, white for the mask: (..., N) to float (..., N, 3). Near codes have near colours."""
    colours = matplotlib.colormaps[TOKENS](np.minimum(tokens, codes - 1) / max(codes - 1, 1))[..., :3]
    colours[tokens >= codes] = 1.0
    return colours


def masking(config: Config) -> Figure:
    """A training example: the tokens of a sequence, the past with random errors, and the masked tokens to predict."""
    model, examples = _examples(config)
    if not isinstance(model, MaskGitDynamics):
        return left_out("it shows the masks of maskgit, and the dynamics here are of another kind")
    tokens, rng = examples.spread(3)["tokens"][1:2], np.random.default_rng(0)
    drawn = max(  # the share of errors is random: take the example with the most of a few
        (training_masks(rng, tokens, model.codes, config.dynamics.corruption, 0.0) for _ in range(8)),
        key=lambda one: (one["past"] != tokens).sum(),
    )
    masked = np.where(drawn["masked"], model.mask_id, tokens)
    figure = Figure(figsize=(WIDTH, 2.6), layout="constrained")
    titles = ("true tokens", "past: red are errors", "to predict: white is masked")
    for axes, some, title in zip(figure.subplots(1, 3), (tokens, drawn["past"], masked), titles):
        axes.imshow(_colours(some[0], model.codes), interpolation="nearest", aspect="auto")
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("token", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.axes[0].set_ylabel("step", fontsize=8)
    steps, places = np.nonzero(drawn["past"][0] != tokens[0])
    figure.axes[1].plot(places, steps, "x", color="tab:red", markersize=4)
    return figure


def attention_mask(config: Config) -> Figure:
    """Which steps a step attends to in one block, and through all blocks. Within a step, every token sees every other."""
    model = _dynamics(config)
    back = ops.convert_to_numpy(distances(config.dynamics.length - 1))
    settings = model.config
    figure = Figure(figsize=(WIDTH * 0.75, 2.7), layout="constrained")
    reach = {"one block": settings["window"], f"all {settings['depth']} blocks": settings["depth"] * (settings["window"] - 1) + 1}
    for axes, (name, window) in zip(figure.subplots(1, 2), reach.items()):
        axes.imshow((back >= 0) & (back + 1 < window), cmap="Blues", vmax=1.5, interpolation="nearest")
        axes.set_title(f"time attention, {name}", fontsize=9)
        axes.set_xlabel("step of the past", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.set_yticks(range(len(back)), range(1, len(back) + 1))
    figure.axes[0].set_ylabel("step that is predicted", fontsize=8)
    return figure


def memory(config: Config) -> Figure:
    """The loss of the same steps, by the number of steps before them that the model sees: what a longer memory buys."""
    model, film = _dynamics(config), films(config, SEQUENCES, split="test")
    tokens, stride = film["tokens"][:, 1:].astype(np.int32), load_tokenizer(config)[0].stride  # the first grid is given
    inputs = {"tokens": tokens, "actions": np.pad(film["actions"][:, 1:], ((0, 0), (0, 1)))}
    if model.embed_picture is not None:
        inputs["pictures"] = film["pictures"][:, stride::stride]
    inputs |= model.noise(np.random.default_rng(0), tokens, model.codes, 0.0, 0.0)
    if "masked" in inputs:
        inputs["masked"] = np.ones(tokens.shape, bool)

    def loss(inputs):
        targets = ops.cast(inputs["tokens"][:, -1], "int32")
        logits = model.predicted(inputs)["logits"][:, -1]
        return ops.mean(keras.losses.sparse_categorical_crossentropy(targets, logits, from_logits=True), axis=1)

    loss, seen, size = compiled(loss), np.arange(1, tokens.shape[1]), min(32, len(tokens))
    means = []
    for steps in seen:
        parts = [
            loss({name: ops.convert_to_tensor(value[begin : begin + size, -steps - 1 :]) for name, value in inputs.items()})
            for begin in range(0, len(tokens) - size + 1, size)
        ]
        means.append(np.mean([ops.convert_to_numpy(part) for part in parts]))
    figure = Figure(figsize=(WIDTH / 2, 2.4), layout="constrained")
    axes = figure.subplots()
    axes.plot(seen, means, marker="o")
    axes.set_xlabel("steps before it that the model sees", fontsize=8)
    axes.set_ylabel("loss, nats a token", fontsize=8)
    return figure


def _world_at_a_moment(config: Config, seed: int, later: int = 0) -> tuple[World, np.ndarray, np.ndarray]:
    """A world after a prompt from a held-out level; the prompt's film; and the actions of the next `later` steps."""
    guided = config.dynamics.actions == "true"
    world = World.load(config.model_folder, guided, **config.play.sampling)
    recording = Episodes(config.record_folder("test"), world.stride)
    grids = -(-config.play.prompt_frames // world.stride)
    rows = recording.windows(grids + later).draw(np.random.default_rng(seed), 1)
    film = recording.films(rows, grids)
    actions = recording.action if guided else latent_actions_of(config, {"test": recording})["test"]
    acted = actions[rows[:, None] + np.arange(grids + later - 1)].astype(int)
    world.reset(film, acted[:, : grids - 1])
    return world, film, acted[:, grids - 1 :]


def filling_in(config: Config, seed: int = 3) -> Figure:
    """One step of the world: the tokens after each MaskGIT step, and the picture that they would give.

    A token that is not fixed yet is decoded as the code in the middle of the codebook."""
    world, film, acted = _world_at_a_moment(config, seed, later=1)
    if not isinstance(world.dynamics, MaskGitDynamics):
        return left_out("it shows the sampling of maskgit, and the dynamics here are of another kind")
    steps, model, context = world.sampling_steps, world.dynamics, world.tokenizer.context(world.memory)
    noise = uniform_noise(world.seeds, model.noise_shape(steps))
    action = ops.convert_to_tensor(acted[:, 0].astype(np.int32))

    def sample(past, action, noise, context=None):
        return model.sample(past, action, noise, world.temperature, context)["history"]

    history = compiled(sample)(world.past, action, noise, *([] if context is None else [context]))
    decode = compiled(lambda tokens, memory, led_by: world.tokenizer.decode(tokens, memory, led_by)["frames"])
    figure = Figure(figsize=(WIDTH, 2.3), layout="constrained")
    panels = figure.subplots(2, len(history) + 1)
    picture(panels[0, 0], film[0, -1], "last frame")
    panels[1, 0].axis("off")
    for i, (above, below, tokens) in enumerate(zip(panels[0, 1:], panels[1, 1:], history)):
        fixed = ops.convert_to_numpy(tokens)
        filled = np.where(fixed == model.mask_id, model.codes // 2, fixed)
        shown = ops.convert_to_numpy(decode(ops.convert_to_tensor(filled), world.memory, ops.take(world.led_by, action)))
        picture(above, shown.reshape(-1, *world.frame_size, 3)[-1], f"step {i + 1}")
        picture(below, _in_a_grid(_colours(fixed[0], model.codes), world.tokenizer), f"{(fixed < model.codes).sum()} fixed")
    return figure


def _in_a_grid(colours: np.ndarray, tokenizer) -> np.ndarray:
    """Colours (N, 3) of the tokens of a step, as a small picture: shifts in the first row, if there are any, then the grid."""
    rows, columns = tokenizer.grid
    further = len(colours) - rows * columns
    grid = colours[further:].reshape(rows, columns, 3)
    if further <= 0:
        return grid
    first = np.ones((1, max(further, columns), 3))
    first[0, :further] = colours[:further]
    padded = np.ones((rows, max(further, columns), 3))
    padded[:, :columns] = grid
    return np.concatenate([first, padded])


def flow(config: Config, steps: int = 12, seed: int = 3) -> Figure:
    """A rollout: the frame at the end of each step, its action, and all its tokens."""
    world, film, _ = _world_at_a_moment(config, seed)
    rng, shown, tokens = np.random.default_rng(seed), [film[0, -1]], []
    actions = np.repeat(rng.choice(list(world.keymap.values()), -(-steps // 3)), 3)[:steps]
    names = {code: key for key, code in world.keymap.items()}
    for action in actions:
        shown.append(world.step(np.array([action]), last=True)[0])
        tokens.append(ops.convert_to_numpy(world.tokens)[0])
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1, 2), squeeze=False)[:, 0]
    for axes, frame, name in zip(above.subplots(1, len(shown)), shown, ["prompt", *(names[action] for action in actions)]):
        picture(axes, frame, name)
    axes = below.subplots()
    axes.imshow(_colours(np.array(tokens).T, world.dynamics.codes), interpolation="nearest", aspect="auto")
    axes.set_xlabel("step", fontsize=8)
    axes.set_ylabel("token", fontsize=8)
    axes.tick_params(labelsize=7)
    return figure
