"""The trainings that scripts and notebooks call. They combine recordings, models and the training loop."""

from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import chain
from pathlib import Path

import keras
import numpy as np
from keras import ops

from genie_tf.cluster import cluster_at, on_cluster
from genie_tf.config import IDM_MODEL, JUDGE, TOKENIZER, Config, world_model
from genie_tf.episodes.codes import cached_codes, codes_of_films, codes_of_rows, fingerprint
from genie_tf.episodes.dataset import Episodes, spread
from genie_tf.episodes.recorded import controls_in, recorded_with
from genie_tf.errors import UserError
from genie_tf.files import alone
from genie_tf.hosts import ONE, Devices, main_process_first
from genie_tf.kinds import class_of
from genie_tf.latent_action.auto import chosen
from genie_tf.latent_action.inverse_dynamics import InverseDynamicsModel
from genie_tf.latent_action.keymap import LABELS, learn_keymap, load_keymap, save_keymap
from genie_tf.looks import SHOWN, dreams, predictions, reconstructions
from genie_tf.training.backend import compiled
from genie_tf.training.checkpoints import checkpoint_file, load_checkpoint, load_facts
from genie_tf.training.loop import train
from genie_tf.training.precision import use_policy
from genie_tf.world import latent_actions_of_keys

VALIDATION_SAMPLES = 512
VALIDATION_SEQUENCES = 64


def recordings(config: Config, *splits: str, every: int = 1) -> dict[str, Episodes]:
    """The recordings of these splits, every n-th frame of them."""
    return {split: Episodes(config.record_folder(split), every) for split in splits}


def held_frames(config: Config, guided: bool = False) -> int:
    """Number of frames over which an action is held: a row of figures, and what the judge names.

    It is the span of the latent actions. With recorded actions it is that of the recording, which is 1 for videos.
    """
    if not guided:
        return span_of(latent_action_file(config))
    game = recorded_with(Episodes(config.record_folder("train")))
    return game.hold // game.steps_per_frame if game is not None else 1


# Tokenizer -----------------------------------------------------------------------------------------


@alone
def train_tokenizer(config: Config, live: bool = False, devices: Devices = ONE, ray: str | None = None):
    """Train the tokenizer on the frames of `record/<world>/train`, then tokenize the recording.

    Args:
        config: The world; section `tokenizer`.
        live: Whether to show the figure of the training in a notebook.
        devices: The devices that train.
        ray: Address of a Ray cluster that tokenizes. None: this process does it.

    Returns:
        The folder of the last checkpoint, `model/<world>/VQVAE_Model_<epochs>`.

    Raises:
        UserError: a setting of the model is invalid, VGG16's weights are needed and can't be loaded, the tokenizer needs the
            latent actions and there are none, or there is no cluster.
    """
    if ray:  # a missing cluster is found before the training, not after it
        with cluster_at(ray):
            pass
    settings = config.tokenizer
    model = class_of("tokenizer", settings.kind)
    episodes = recordings(config, "train", "validation")
    frame_size, count = episodes["train"].frame_size, 0
    if model.needs_actions:
        file = latent_action_file(config)
        count = codes_of(file)
    stride = model.from_settings(settings, frame_size, count).stride  # raises the error of an invalid setting
    episodes = recordings(config, *episodes, every=stride)
    inputs = {"recording": episodes["train"].fingerprint}
    actions: dict[str, np.ndarray | None] = dict.fromkeys(episodes)
    if model.needs_actions:
        inputs["latent_action"] = fingerprint(file)
        actions |= latent_actions_of(config, episodes)
    use_policy(settings.precision, config.model_folder)
    checkpoint = train(
        "tokenizer",
        lambda: model.from_settings(settings, frame_size, count),
        model.examples(episodes["train"], settings, actions["train"]).draw,
        model.examples(episodes["validation"], settings, actions["validation"]).spread(
            settings.validation_examples(VALIDATION_SAMPLES)
        ),
        config.model_folder,
        TOKENIZER,
        "tokenizer_training.py",
        settings,
        inputs,
        reconstructions(model.examples(episodes["validation"], settings, actions["validation"]).spread(SHOWN)),
        live,
        devices,
    )
    tokenized(config, episodes, ray)
    return checkpoint


def load_tokenizer(config: Config):
    """The latest tokenizer of this world, and its file."""
    return load_checkpoint(config.model_folder, TOKENIZER, "tokenizer_training.py")


def tokenized(config: Config, episodes: dict[str, Episodes], ray: str | None = None) -> dict[str, np.ndarray]:
    """Every row of recordings through the latest tokenizer, cached in its folder.

    If a token grid stands for S frames, the recordings must have every S-th frame. The tokens of a row stand for its frame and the
    frames between the row before and it.

    Args:
        config: The world.
        episodes: The recordings.
        ray: Address of a Ray cluster that does it. None: this process does it.

    Returns:
        For each recording a structured array (R,): `tokens` (N,), uint16 or uint32; and if tokens change the picture before,
        `picture` uint8 (H, W, 3), the tokenizer's own picture of the row, which the tokens of the next row change.

    Raises:
        UserError: the frames have another size, the latent actions are not those of the tokenizer, or the cluster fails.
    """
    tokenizer, file = load_tokenizer(config)
    actions, tokens_of = actions_for_tokenizer(config, tokenizer, episodes), _tokens_by(tokenizer)

    def of_one(split: str, recording: Episodes) -> np.ndarray:
        recording.check_size(tokenizer.frame_size, file.parent)
        tokens = tokens_of(recording, actions[split])
        if ray:
            tokens = chain.from_iterable(on_cluster(ray, partial(_share_of_tokens, config, recording.folder, recording.every)))
        return cached_codes("tokens", recording, file.parent, f"{fingerprint(file)} {_fields(tokenizer)}", tokens)

    return {split: of_one(split, recording) for split, recording in episodes.items()}


def _share_of_tokens(config: Config, folder: Path, every: int, worker: int, workers: int) -> list[tuple[int, np.ndarray]]:
    """A worker's share of the tokens of a recording, in a process of a cluster. A process loads the tokenizer once."""
    tokenizer, tokens_of = _kept(config.model_folder)
    recording = Episodes(folder, every)
    return list(tokens_of(recording, actions_for_tokenizer(config, tokenizer, {"": recording})[""], worker, workers))


@cache
def _kept(folder: Path):
    """The latest tokenizer in this folder, and its function of `_tokens_by`."""
    tokenizer, _ = load_checkpoint(folder, TOKENIZER, "tokenizer_training.py")
    return tokenizer, _tokens_by(tokenizer)


def _fields(tokenizer) -> list[tuple]:
    """The fields of a row of `tokenized`."""
    fields: list[tuple] = [("tokens", np.promote_types(np.min_scalar_type(tokenizer.codes - 1), np.uint16), (tokenizer.tokens,))]
    if tokenizer.given:
        fields.append(("picture", np.uint8, (*tokenizer.frame_size, 3)))
    return fields


def _tokens_by(tokenizer) -> Callable[..., Iterator[tuple[int, np.ndarray]]]:
    """A function that tokenizes a worker's share of the rows of a recording, for `cached_codes`.

    It takes the recording; the actions int (R,) that lead on from each row; the number of the worker, and that of the workers.
    """

    def convert(frames, memory, led_by):
        encoded = tokenizer.encode(frames, memory, led_by)
        tokens, memory = encoded["tokens"], encoded["memory"]
        if tokenizer.given:  # other tokens do not depend on what was decoded, and decoding is the slow part
            memory = tokenizer.remember(tokens, memory, led_by)
        return tokens, memory

    encode, convert = compiled(tokenizer.encode), compiled(convert)

    def row(tokens, picture=None):
        rows = np.empty(len(tokens), _fields(tokenizer))
        rows["tokens"] = ops.convert_to_numpy(tokens)
        if picture is not None:
            rows["picture"] = ops.convert_to_numpy(picture)
        return rows

    def tokens_of(recording: Episodes, actions: np.ndarray, worker: int = 0, workers: int = 1) -> Iterator[tuple[int, np.ndarray]]:
        def next_rows(frames, rows, memory):
            led_by = actions[np.maximum(rows - 1, 0)].astype(np.int32)
            tokens, memory = convert(ops.convert_to_tensor(frames), memory, ops.convert_to_tensor(led_by))
            return row(tokens, tokenizer.context(memory)), memory

        def separate_rows(rows):
            return row(encode(ops.convert_to_tensor(recording.frames(rows)))["tokens"])

        if tokenizer.memory(1):
            return codes_of_films(recording, tokenizer.memory, next_rows, worker=worker, workers=workers)
        return codes_of_rows(recording, 1, separate_rows, worker=worker, workers=workers)

    return tokens_of


def actions_for_tokenizer(config: Config, tokenizer, episodes: dict[str, Episodes]) -> dict[str, np.ndarray]:
    """The actions int (R,) of every row that the latest tokenizer sees: zeros if it needs none.

    Raises:
        UserError: the latent actions are not those that it was trained on.
    """
    if not tokenizer.needs_actions:
        return {split: np.zeros(len(recording), np.uint8) for split, recording in episodes.items()}
    checkpoint = checkpoint_file(config.model_folder, TOKENIZER, "tokenizer_training.py").parent
    if load_facts(checkpoint, "tokenizer_training.py")["inputs"]["latent_action"] != fingerprint(latent_action_file(config)):
        raise UserError(f"{checkpoint} was trained on another latent action model: run `python tokenizer_training.py` again")
    return latent_actions_of(config, episodes)


# Latent actions ------------------------------------------------------------------------------------


@alone
def train_latent_action(config: Config, live: bool = False, devices: Devices = ONE):
    """Train the latent action model on pixels, infer the latent actions of the recording, and learn the keymap.

    The training uses no labels. After it, the keymap is learnt from at most `LABELS` labelled transitions, if the recording has
    labels.

    Args:
        config: The world; section `latent_action`.
        live: Whether to show the figure of the training in a notebook.
        devices: The devices that train.

    Returns:
        The folder of the last checkpoint, `model/<world>/IDM_Model_<epochs>`.

    Raises:
        UserError: a setting of the model is invalid.
    """
    folder = config.model_folder
    episodes = recordings(config, "train", "validation", every=config.latent_action.span)
    settings = chosen(config.latent_action, episodes["train"])
    model = class_of("latent_action", settings.kind)
    frame_size = episodes["train"].frame_size
    model.from_settings(settings, frame_size)  # raises the error of an invalid setting before any work is done
    use_policy(settings.precision, config.model_folder)

    def make():
        made = model.from_settings(settings, frame_size)
        if hasattr(made, "adapt"):
            made.adapt(episodes["train"])
        return made

    checkpoint = train(
        "latent actions",
        make,
        model.examples(episodes["train"], folder, settings).draw,
        model.examples(episodes["validation"], folder, settings).spread(settings.validation_examples(VALIDATION_SAMPLES)),
        folder,
        IDM_MODEL,
        "idm_training.py",
        settings,
        {"recording": episodes["train"].fingerprint},
        predictions(episodes["validation"]),
        live,
        devices,
    )
    codes = latent_actions_of(config, episodes)
    with main_process_first():
        _learn_missing_keymap(checkpoint, codes["train"], episodes["train"], settings)
    return checkpoint


def _learn_missing_keymap(checkpoint: Path, codes: np.ndarray, recording: Episodes, settings) -> None:
    """Learn the keymap of a recording's latent actions, if the checkpoint has none."""
    try:
        load_keymap(checkpoint, settings.codes)
        return  # it is kept, because it may come from `dream_play_tf.py --calibrate`
    except UserError:
        pass  # there is none yet, or it is damaged
    controls = controls_in(recording)
    if controls is not None:
        labelled = recording.windows(2, before=1, labelled=True).draw(np.random.default_rng(settings.seed), LABELS)
        keymap = learn_keymap(codes[labelled], recording.read(labelled)["action"], controls, settings.codes)
        save_keymap(checkpoint, keymap, LABELS)
        print("keymap, from key to latent action: " + ", ".join(f"{key} {code}" for key, code in keymap.items()))
    else:
        save_keymap(checkpoint, {"none": int(np.bincount(codes).argmax())}, 0)
        print(
            f"this recording has no true actions, so no key has a meaning: play with the number keys 1 to {settings.codes}, "
            f"or name them, python dream_play_tf.py --world {checkpoint.parent.name} --calibrate"
        )


def load_latent_action(config: Config):
    """The latest latent action model of this world, and its file."""
    return load_checkpoint(config.model_folder, IDM_MODEL, "idm_training.py")


def latent_action_file(config: Config) -> Path:
    """The file of the latest latent action model. To read its settings, the model need not be loaded."""
    return checkpoint_file(config.model_folder, IDM_MODEL, "idm_training.py")


def span_of(file: Path) -> int:
    """Frames from the beginning of a latent action to its end, from the file of a latent action model."""
    return load_facts(file.parent, "idm_training.py")["settings"].get("span", 1)


def codes_of(file: Path) -> int:
    """Number of latent actions, from the file of a latent action model."""
    return load_facts(file.parent, "idm_training.py")["settings"]["codes"]


def latent_actions_of(config: Config, episodes: dict[str, Episodes]) -> dict[str, np.ndarray]:
    """Latent action uint8 (R,) of every row of recordings, cached in the model's folder.

    A row whose latent action ends after the episode has the one before it, or 0.

    Raises:
        UserError: a row of the recordings is longer than a latent action.
    """
    file = latent_action_file(config)
    span = span_of(file)

    @cache
    def coder():
        model, _ = load_latent_action(config)
        return model, compiled(model.code)

    def codes_of_held(held: Episodes) -> Iterator[tuple[int, np.ndarray]]:
        model, code = coder()  # only if the codes are not in the cache file
        held.check_size(model.frame_size, file.parent)
        take = model.transitions(held, config.model_folder)

        def compute(rows):
            return ops.convert_to_numpy(code(keras.tree.map_structure(ops.convert_to_tensor, take(rows)))).astype(np.uint8)

        yield from codes_of_rows(held, 2, compute)

    def of_one(recording: Episodes) -> np.ndarray:
        if span % recording.every:
            raise UserError(
                f"--latent_action.span {span}: it must be a multiple of the {recording.every} frames of a token grid; "
                "then run `python idm_training.py` again"
            )
        held = recording if recording.every == span else Episodes(recording.folder, span)
        codes = cached_codes("latent_actions", held, file.parent, fingerprint(file), codes_of_held(held))
        return spread(codes, held, recording)

    return {split: of_one(recording) for split, recording in episodes.items()}


@alone
def train_judge(config: Config, live: bool = False):
    """Train the supervised action model on recorded actions.

    Args:
        config: The world; section `judge`.
        live: Whether to show the figure of the training in a notebook.

    Returns:
        The folder of the last checkpoint, `model/<world>/Judge_Model_<epochs>`.

    Raises:
        UserError: the recording has no true actions.
    """
    settings = config.judge
    episodes = recordings(config, "train", "validation", every=held_frames(config, config.dynamics.actions == "true"))
    controls = controls_in(episodes["train"])
    if controls is None or not episodes["validation"].known.any():
        raise UserError(f"record/{config.world} has no true actions, and a judge learns from them")
    use_policy(settings.precision, config.model_folder)
    return train(
        "judge",
        lambda: InverseDynamicsModel(len(controls), settings.width, episodes["train"].frame_size),
        InverseDynamicsModel.examples(episodes["train"], controls).draw,
        InverseDynamicsModel.examples(episodes["validation"], controls).spread(settings.validation_examples(VALIDATION_SAMPLES)),
        config.model_folder,
        JUDGE,
        "dream_evaluate_tf.py",
        settings,
        {"recording": episodes["train"].fingerprint, "controls": str(controls.lists)},
        live=live,
    )


# Dynamics ------------------------------------------------------------------------------------------


@alone
def train_world_model(config: Config, live: bool = False, devices: Devices = ONE):
    """Train the dynamics on tokens and latent actions, or on tokens and recorded actions (`dynamics.actions: true`).

    Args:
        config: The world; section `dynamics`.
        live: Whether to show the figure of the training in a notebook.
        devices: The devices that train.

    Returns:
        The folder of the last checkpoint, `model/<world>/world_model_<epochs>`.

    Raises:
        UserError: true actions are requested, but the recording has episodes without them; or a latent action is shorter than a
            token grid.
    """
    settings = config.dynamics
    model = class_of("dynamics", settings.kind)
    guided = settings.actions == "true"
    tokenizer, tokenizer_file = load_tokenizer(config)
    episodes = recordings(config, "train", "validation", every=tokenizer.stride)
    controls = controls_in(episodes["train"]) if guided else None
    if guided and (controls is None or not all(recording.known.all() for recording in episodes.values())):
        raise UserError(f"record/{config.world} has episodes without true actions: train with --dynamics.actions latent")
    codes, films = tokenizer.codes, tokenized(config, episodes)
    context = {"frame_size": tokenizer.frame_size, "grid": tokenizer.grid} if tokenizer.given else None
    inputs = {"recording": episodes["train"].fingerprint, "tokenizer": fingerprint(tokenizer_file)}
    led_by = None
    if controls is not None:
        count, actions = controls.count, {split: recording.action for split, recording in episodes.items()}
        keymap = dict(zip(controls, map(int, controls.first)))
        if tokenizer.needs_actions:
            led_by = latent_actions_of_keys(config.model_folder, tokenizer.actions, keymap, count)
    else:
        file = latent_action_file(config)
        count, actions = codes_of(file), latent_actions_of(config, episodes)
        inputs["latent_action"] = fingerprint(file)
    sizes = [codes, tokenizer.tokens, count, context, *([tokenizer.vectors()] if model.needs_vectors else [])]
    model.from_settings(settings, *sizes)  # raises the error of an invalid setting
    use_policy(settings.precision, config.model_folder)

    def examples(split: str):
        return model.examples(episodes[split], films[split], actions[split], settings, codes)

    checkpoint = train(
        "dynamics",
        lambda: model.from_settings(settings, *sizes),
        examples("train").draw,
        examples("validation").spread(settings.validation_examples(VALIDATION_SEQUENCES)),
        config.model_folder,
        world_model(guided),
        "dream_train_tf.py",
        settings,
        inputs,
        dreams(episodes["validation"], actions["validation"], settings.length, tokenizer, led_by),
        live,
        devices,
    )
    if controls is not None:
        save_keymap(checkpoint, keymap, 0)
    return checkpoint
