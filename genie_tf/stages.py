"""The three trainings, as scripts and notebooks call them: what each reads, builds, and leaves for the next."""

import keras
import numpy as np
from keras import ops

from genie_tf.config import IDM_MODEL, JUDGE, TOKENIZER, Config, world_model
from genie_tf.dynamics.maskgit import MaskGitDynamics, training_masks
from genie_tf.episodes.codes import cached_codes, fingerprint
from genie_tf.episodes.dataset import Episodes, batches
from genie_tf.errors import UserError
from genie_tf.latent_action import FRAMES
from genie_tf.latent_action.inverse_dynamics import InverseDynamicsModel
from genie_tf.latent_action.keymap import FILE as KEYMAP
from genie_tf.latent_action.keymap import KEY_OF_ACTION, LABELS, learn_keymap, save_keymap
from genie_tf.latent_action.model import ROW_PARTS, LatentActionModel, mirrored
from genie_tf.latent_action.registration import register
from genie_tf.latent_action.st_transformer import STLatentActionModel
from genie_tf.tokenizer.conv import ConvTokenizer
from genie_tf.training.backend import compiled
from genie_tf.training.loop import load_checkpoint, train
from genie_tf.training.precision import use_fastest_policy

VALIDATION_SAMPLES = 512
TRUE_ACTIONS = 15  # Procgen's


def recordings(config: Config, *splits: str) -> dict[str, Episodes]:
    return {split: Episodes(config.record_folder(split)) for split in splits}


# Tokenizer -----------------------------------------------------------------------------------------


def train_tokenizer(config: Config, live: bool = False):
    """Train the tokenizer on the frames of `record/<world>/train`, then tokenize the recording.

    Args:
        config: The world; section `tokenizer`.
        live: Whether to draw the loss in a notebook.

    Returns:
        The folder of the last checkpoint, `model/<world>/VQVAE_Model_<epochs>`.
    """
    settings = config.tokenizer
    episodes = recordings(config, "train", "validation")
    use_fastest_policy()

    def build():
        model = ConvTokenizer(settings.codes, settings.code_dim, settings.width, settings.blocks, seed=settings.seed)
        model.build()
        return model

    def sample(rng: np.random.Generator, size: int):
        return episodes["train"].frames(rng.integers(0, len(episodes["train"]), size))

    checkpoint = train(
        "tokenizer",
        build,
        lambda step: batches(sample, settings.batch_size, settings.seed, step),
        episodes["validation"].frames(episodes["validation"].windows(1).spread(VALIDATION_SAMPLES)),
        config.model_folder,
        TOKENIZER,
        "tokenizer_training.py",
        settings,
        {"recording": episodes["train"].fingerprint},
        live,
    )
    tokens_of(config, episodes)
    return checkpoint


def load_tokenizer(config: Config):
    """The latest tokenizer of this world, and its file."""
    return load_checkpoint(config.model_folder, TOKENIZER, "tokenizer_training.py")


def tokens_of(config: Config, episodes: dict[str, Episodes]) -> dict[str, np.ndarray]:
    """Tokens uint16 (R, N) of every row of recordings, from the caches beside the latest tokenizer if they are its own."""
    tokenizer, file = load_tokenizer(config)
    encode = compiled(tokenizer.encode)

    def of_one(recording):
        def compute(rows):
            return ops.convert_to_numpy(encode(ops.convert_to_tensor(recording.frames(rows)))).astype(np.uint16)

        return cached_codes("tokens", recording, file.parent, fingerprint(file), recording.windows(1), compute)

    return {split: of_one(recording) for split, recording in episodes.items()}


# Latent actions ------------------------------------------------------------------------------------


def _transitions(config: Config, episodes: dict[str, Episodes]):
    """Where a transition may be, and a function of a split and rows to what `LatentActionModel` sees of them."""
    motion = motion_of(config, episodes)

    def take(split: str, rows: np.ndarray) -> dict[str, np.ndarray]:
        around = episodes[split].transition_rows(rows, FRAMES - 2)
        went_on = np.diff(around)[..., None] == 1  # an episode's first row stands for earlier ones
        return {"frames": episodes[split].frames(around[:, -3:]), "motion": motion[split][around[:, :-1]] * went_on}

    return {split: recording.windows(2, before=1) for split, recording in episodes.items()}, take


def _films(config: Config, episodes: dict[str, Episodes]):
    """Where a film may begin, and a function of a split and rows to what `STLatentActionModel` sees of them."""
    length = config.latent_action.length

    def take(split: str, rows: np.ndarray) -> dict[str, np.ndarray]:
        return {"frames": episodes[split].frames(rows[:, None] + np.arange(length))}

    return {split: recording.windows(length) for split, recording in episodes.items()}, take


def train_latent_action(config: Config, live: bool = False):
    """Train the unsupervised action model on pixels, infer the whole recording, and learn the keymap.

    No label is read before the training is over; then at most `LABELS` transitions name the codes, if the recording has labels.

    Args:
        config: The world; section `latent_action`.
        live: Whether to draw the loss in a notebook.

    Returns:
        The folder of the last checkpoint, `model/<world>/IDM_Model_<epochs>`.

    Raises:
        UserError: the number of codes is odd, which motion_rank cannot have.
    """
    settings = config.latent_action
    by_motion = settings.kind == "motion_rank"
    if by_motion and settings.codes % ROW_PARTS:
        raise UserError(
            f"--latent_action.codes {settings.codes}: each part of the columns is paired with two of the rows: take an even number"
        )
    episodes = recordings(config, "train", "validation")
    windows, take = (_transitions if by_motion else _films)(config, episodes)
    use_fastest_policy()

    def build():
        if by_motion:
            model = LatentActionModel(settings.codes, settings.width)
        else:
            shape = (settings.codes, settings.code_dim, settings.width, settings.depth, settings.heads, settings.patch)
            model = STLatentActionModel(*shape, seed=settings.seed)
        model.build()
        return model

    def sample(rng: np.random.Generator, size: int):
        batch = take("train", windows["train"].draw(rng, size))
        return mirrored(rng, **batch) if by_motion else batch

    checkpoint = train(
        "latent actions",
        build,
        lambda step: batches(sample, settings.batch_size, settings.seed, step),
        take("validation", windows["validation"].spread(VALIDATION_SAMPLES)),
        config.model_folder,
        IDM_MODEL,
        "idm_training.py",
        settings,
        {"recording": episodes["train"].fingerprint},
        live,
    )
    codes = latent_actions_of(config, episodes)
    if (checkpoint / KEYMAP).exists():
        return checkpoint  # perhaps a person's, from `dream_play_tf.py --calibrate`
    if episodes["train"].known.any():
        labelled = episodes["train"].windows(2, before=1, labelled=True).draw(np.random.default_rng(settings.seed), LABELS)
        keymap = learn_keymap(codes["train"][labelled], episodes["train"].read(labelled)["action"], settings.codes)
        save_keymap(checkpoint, keymap, LABELS)
        print("keymap, from key to latent action: " + ", ".join(f"{key} {code}" for key, code in keymap.items()))
    else:
        save_keymap(checkpoint, {"none": int(np.bincount(codes["train"]).argmax())}, 0)
        print(
            f"this recording has no true actions, so w, a and d mean nothing: play with the number keys 1 to {settings.codes}, "
            f"or name them, python dream_play_tf.py --world {config.world} --calibrate"
        )
    return checkpoint


def load_latent_action(config: Config):
    """The latest latent action model of this world, and its file."""
    return load_checkpoint(config.model_folder, IDM_MODEL, "idm_training.py")


def motion_of(config: Config, episodes: dict[str, Episodes]) -> dict[str, np.ndarray]:
    """What `register` says of every row of recordings and the next: float32 (R, 3); zeros at an episode's last row."""
    compare = compiled(register)

    def of_one(recording):
        def compute(rows):
            frames = recording.frames(rows[:, None] + np.arange(2))
            return ops.convert_to_numpy(compare(*(ops.convert_to_tensor(frames[:, i]) for i in range(2))))

        rows, motion = recording.windows(2), np.zeros((len(recording), 3), np.float32)
        motion[rows[:]] = cached_codes("motion", recording, config.model_folder, register.__name__, rows, compute)
        return motion

    return {split: of_one(recording) for split, recording in episodes.items()}


def latent_actions_of(config: Config, episodes: dict[str, Episodes]) -> dict[str, np.ndarray]:
    """Latent action int32 (R,) taken at every row of recordings; 0 at an episode's last row, which leads nowhere."""
    model, file = load_latent_action(config)
    if isinstance(model, LatentActionModel):
        infer, (_, take) = compiled(model.code), _transitions(config, episodes)
    else:
        infer = compiled(model.infer)

        def take(split, rows):
            return episodes[split].frames(episodes[split].transition_rows(rows, FRAMES - 2))

    def of_one(split, recording):
        def compute(rows):
            return ops.convert_to_numpy(infer(keras.tree.map_structure(ops.convert_to_tensor, take(split, rows)))).astype(np.uint8)

        rows, codes = recording.windows(2), np.zeros(len(recording), np.int32)
        codes[rows[:]] = cached_codes("latent_actions", recording, file.parent, fingerprint(file), rows, compute)
        return codes

    return {split: of_one(split, recording) for split, recording in episodes.items()}


def train_judge(config: Config, live: bool = False):
    """Train the supervised action model on recorded actions.

    Args:
        config: The world; section `judge`.
        live: Whether to draw the loss in a notebook.

    Returns:
        The folder of the last checkpoint, `model/<world>/Judge_Model_<epochs>`.

    Raises:
        UserError: the recording has no true actions.
    """
    settings = config.judge
    episodes = recordings(config, "train", "validation")
    if not all(recording.known.any() for recording in episodes.values()):
        raise UserError(f"record/{config.world} has no true actions, and a judge learns from them")
    transitions = {split: recording.windows(2, labelled=True) for split, recording in episodes.items()}
    use_fastest_policy()

    def labelled(split: str, rows: np.ndarray) -> dict[str, np.ndarray]:
        read = episodes[split].read(episodes[split].transition_rows(rows, FRAMES - 2))
        return {"frames": np.ascontiguousarray(read["frame"]), "keys": KEY_OF_ACTION[read["action"][:, -2]]}

    def build():
        model = InverseDynamicsModel(settings.width)
        model.build()
        return model

    def sample(rng: np.random.Generator, size: int):
        return labelled("train", transitions["train"].draw(rng, size))

    return train(
        "judge",
        build,
        lambda step: batches(sample, settings.batch_size, settings.seed, step),
        labelled("validation", transitions["validation"].spread(VALIDATION_SAMPLES)),
        config.model_folder,
        JUDGE,
        "dream_evaluate_tf.py",
        settings,
        {"recording": episodes["train"].fingerprint},
        live,
    )


# Dynamics ------------------------------------------------------------------------------------------


def train_world_model(config: Config, live: bool = False):
    """Train the dynamics on cached tokens and on latent actions, or on recorded ones (`dynamics.actions: true`).

    Args:
        config: The world; section `dynamics`.
        live: Whether to draw the loss in a notebook.

    Returns:
        The folder of the last checkpoint, `model/<world>/world_model_<epochs>`.

    Raises:
        UserError: true actions are asked for, and the recording has none.
    """
    settings = config.dynamics
    guided = settings.actions == "true"
    episodes = recordings(config, "train", "validation")
    if guided and not all(recording.known.all() for recording in episodes.values()):
        raise UserError(f"record/{config.world} has episodes without true actions: train with --dynamics.actions latent")
    tokenizer, tokenizer_file = load_tokenizer(config)
    tokens = tokens_of(config, episodes)
    inputs = {"recording": episodes["train"].fingerprint, "tokenizer": fingerprint(tokenizer_file)}
    if guided:
        count, actions = TRUE_ACTIONS, {split: recording.action for split, recording in episodes.items()}
    else:
        latent_action, latent_action_file = load_latent_action(config)
        count, actions = latent_action.codes, latent_actions_of(config, episodes)
        inputs["latent_action"] = fingerprint(latent_action_file)
    use_fastest_policy()

    def build():
        model = MaskGitDynamics(
            codes=tokenizer.codes,
            tokens=tokens["train"].shape[1],
            actions=count,
            width=settings.width,
            depth=settings.depth,
            heads=settings.heads,
            window=settings.window,
        )
        model.build()
        return model

    starts = {split: recording.windows(settings.length) for split, recording in episodes.items()}

    def sequences(split: str, first: np.ndarray, rng: np.random.Generator, corruption: float) -> dict[str, np.ndarray]:
        rows = first[:, None] + np.arange(settings.length)
        truth = tokens[split][rows].astype(np.int32)
        masks = training_masks(rng, truth, tokenizer.codes, corruption)
        return {"tokens": truth, "actions": actions[split][rows].astype(np.int32), **masks}

    def sample(rng: np.random.Generator, size: int):
        return sequences("train", starts["train"].draw(rng, size), rng, settings.corruption)

    return train(
        "dynamics",
        build,
        lambda step: batches(sample, settings.batch_size, settings.seed, step),
        sequences("validation", starts["validation"].spread(VALIDATION_SAMPLES // 8), np.random.default_rng(0), 0.0),
        config.model_folder,
        world_model(guided),
        "dream_train_tf.py",
        settings,
        inputs,
        live,
    )
