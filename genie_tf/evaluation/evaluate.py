"""Is it sharp, does it last, and does it obey? The figures of a trained world on levels that it has not seen."""

import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from genie_tf.config import JUDGE, Config, world_model
from genie_tf.episodes.dataset import Episodes
from genie_tf.episodes.format import UNKNOWN, write_json, write_whole
from genie_tf.errors import UserError
from genie_tf.evaluation import actions as obeying
from genie_tf.evaluation import features
from genie_tf.evaluation.frames import frame_figures, lasting_figures, paired_distance, reconstruct, tokenizer_figures
from genie_tf.evaluation.game import play_on, recorded_with
from genie_tf.evaluation.metrics import bootstrap_figure, mean_figure, psnr, ssim
from genie_tf.evaluation.report import ROWS, Findings, write_report
from genie_tf.evaluation.rollouts import another, evaluation_windows, rollout
from genie_tf.latent_action.inverse_dynamics import FRAMES
from genie_tf.latent_action.keymap import KEY_OF_ACTION, KEYS
from genie_tf.stages import latent_actions_of, train_judge
from genie_tf.training.backend import compiled
from genie_tf.training.loop import latest_checkpoint, load_checkpoint
from genie_tf.world import World

HORIZON = 10  # frames dreamt after the prompt
PROMPTS = {4: "dynamics", 1: "dynamics.prompt1"}  # frames of prompt, and the names of their figures
PROMPT = max(PROMPTS)
DELTA_AT = 4  # the horizon at which papers give delta PSNR
LASTING = (1, 10, 50, 200)  # steps of the long dreams at which to look
MATCHED = (1, 4, 10)  # steps of the counterfactual dreams at which to look
MOMENTS_AN_EPISODE = 16  # transitions of each episode that are played under every key
PLAY_STEPS = 100
SUMMARY = (  # what is printed; evaluation.json has the rest
    r"tokenizer\..*|latent_action\.(visible\.)?\w+|judge\.(visible\.)?\w+|dynamics\.\w+|dynamics\.\w+\.(1|4|10)"
    r"|(obey|lasting|counterfactual)\.\w+(\.\d+)?|play\..*"
)


@dataclass
class Moments:
    """Held-out windows of 4 frames of prompt and 10 to come.

    Args:
        episodes: The test recording.
        rows: int (M,), first rows.
        frames: uint8 (M, 14, 64, 64, 3).
        actions: int (M, 13), what the world is told: inferred from the frames, or recorded in a guided world.
        true: int (M, 13), recorded actions; None where nobody knows them, or the world knows no keys.
    """

    episodes: Episodes
    rows: np.ndarray
    frames: np.ndarray
    actions: np.ndarray
    true: np.ndarray | None

    @property
    def truth(self) -> np.ndarray:
        """What is to come, uint8 (M, 10, 64, 64, 3)."""
        return self.frames[:, PROMPT:]

    def prompt(self, length: int, count: int | None = None) -> dict[str, np.ndarray]:
        """The last `length` frames before what is to come, of the first `count` moments, as `rollout` takes them."""
        return {
            "prompt": self.frames[:count, PROMPT - length : PROMPT],
            "prompt_actions": self.actions[:count, PROMPT - length : PROMPT - 1],
        }


def load_moments(config: Config, world: World, guided: bool) -> Moments:
    test = Episodes(config.record_folder("test"))
    rows = evaluation_windows(test, PROMPT + HORIZON, config.play.evaluation_windows, config.play.seed)
    read = test.read(rows[:, None] + np.arange(PROMPT + HORIZON))
    frames, true = np.ascontiguousarray(read["frame"]), read["action"][:, :-1].astype(int)
    labelled = (true != UNKNOWN).all() and set(KEYS) <= set(world.keymap)
    if guided and not labelled:
        raise UserError(f"record/{config.world} has no true actions: evaluate with --dynamics.actions latent")
    return Moments(test, rows, frames, true if guided else world.infer_actions(frames), true if labelled else None)


def dream_all(
    world: World, guided_world: World | None, moments: Moments, asked: np.ndarray, held: np.ndarray, teacher_forced: bool, seed: int
):
    """Every rollout of the evaluation, behind one progress bar.

    Args:
        guided_world: The variant on true actions, if it is trained and another than `world`.
        asked: int (M', 200), actions of the long dreams of the first M' moments.
        held: int (K,), actions that are held, each in a dream of its own, from the same moments; may be empty.
        teacher_forced: Whether also to dream each frame from the true ones before it.

    Returns:
        Dreams uint8 by name: (prompt, row) (M, 10, 64, 64, 3) for the row "", the world's own actions; "instead", another last
        action at each step; "_random"; "_keys", the true actions by way of the keymap; "_guided"; "_teacher_forced". And "asked"
        (M', 200, …), "held" (M', K, 10, …), "each" (A, 20, …), one prompt under each action.
    """
    rng = np.random.default_rng(seed)
    future = moments.actions[:, PROMPT - 1 :]
    random, instead = rng.choice(np.unique(moments.actions), future.shape), another(future, rng)
    plan: dict = {}
    for length in PROMPTS:
        prompt = moments.prompt(length)
        plan[length, ""] = dict(world=world, **prompt, actions=future, instead=instead)
        plan[length, "_random"] = dict(world=world, **prompt, actions=random)
        if teacher_forced:
            plan[length, "_teacher_forced"] = dict(world=world, **prompt, actions=future, truth=moments.truth)
        if moments.true is not None and world.latent_action is not None:
            code_of = np.array([world.keymap[key] for key in KEYS])
            plan[length, "_keys"] = dict(world=world, **prompt, actions=code_of[KEY_OF_ACTION[moments.true[:, PROMPT - 1 :]]])
        if moments.true is not None and guided_world is not None:
            prompt["prompt_actions"] = moments.true[:, PROMPT - length : PROMPT - 1]
            plan[length, "_guided"] = dict(world=guided_world, **prompt, actions=moments.true[:, PROMPT - 1 :])

    def from_first(count: int, actions: np.ndarray) -> dict:
        """Rollouts from the first `count` moments, each under its share of `actions` (count * k, H)."""
        prompt = {name: np.repeat(value[:count], len(actions) // count, axis=0) for name, value in moments.prompt(PROMPT).items()}
        return dict(world=world, **prompt, actions=actions)

    every = np.arange(world.actions) if world.latent_action is not None else obeying.KEY_ACTIONS
    plan["each"] = from_first(1, every[:, None].repeat(2 * HORIZON, axis=1))
    plan["asked"] = from_first(len(asked), asked)
    if len(held):
        plan["held"] = from_first(len(asked), np.tile(held, len(asked))[:, None].repeat(HORIZON, axis=1))
    dreams = {}
    total = sum(one["actions"].size * (2 if "instead" in one else 1) for one in plan.values())
    with tqdm(total=total, desc="dreaming", unit=" frames") as progress:
        for name, one in plan.items():
            made = rollout(**one, progress=progress)
            dreams[name] = made["dream"]
            if "instead" in made:
                dreams[name[0], "instead"] = made["instead"]
    if len(held):
        dreams["held"] = dreams["held"].reshape(len(asked), len(held), HORIZON, 64, 64, 3)
    return dreams


def delta_figures(group: str, sharp: np.ndarray, random: np.ndarray, instead: np.ndarray, truth: np.ndarray) -> dict:
    """What the actions are worth: PSNR under them, less PSNR under random ones (Genie), or under another last one (GenieRedux)."""
    genie, last = sharp - psnr(random, truth), sharp - psnr(instead, truth)
    figures: dict = {}
    for name, delta in (("genie", genie), ("last", last)):
        figures |= {f"{group}.delta_psnr_{name}.{t + 1}": mean_figure(delta[:, t]) for t in range(delta.shape[1])}
        figures[f"{group}.delta_psnr_{name}"] = mean_figure(delta[:, DELTA_AT - 1])
    return figures


def dream_figures(moments: Moments, dreams: dict, pictures: np.ndarray) -> tuple[dict, np.ndarray]:
    """Frames of every short dream beside the true ones, with the ceiling (`pictures`, the tokenizer's) and the floor (a copy).

    Returns:
        The figures, and the PSNR (M, 10) of the dream from four frames.
    """
    truth, sharps = moments.truth, {}
    figures: dict = {}
    for length, group in PROMPTS.items():
        rows = {row: dreams[length, row] for row in ROWS if (length, row) in dreams}
        rows["_copy"] = np.repeat(moments.frames[:, PROMPT - 1 : PROMPT], HORIZON, axis=1)
        rows["_tokenizer"] = pictures[:, PROMPT:]
        for row, frames in rows.items():
            of_row, sharp = frame_figures(group, row, frames, truth)
            figures |= of_row
            if row == "":
                sharps[length] = sharp
                figures |= delta_figures(group, sharp, rows["_random"], dreams[length, "instead"], truth)
    return figures, sharps[PROMPT]


def far_off_figures(moments: Moments, dreams: dict, pictures: np.ndarray, inception, video_features) -> dict:
    """FID and FVD, in the feature spaces that are at hand."""
    films = {group: dreams[length, ""] for length, group in PROMPTS.items()} | {"tokenizer": pictures[:, PROMPT:]}
    figures: dict = {}
    if inception is not None:
        batches = -(-moments.truth[..., 0, 0, 0].size // features.BATCH)
        with tqdm(total=batches * (len(films) + 1), desc="Inception features", unit=" batches") as progress:

            def of(x):
                return features.inception_features(inception, x.reshape(-1, 64, 64, 3), progress).reshape(*x.shape[:2], -1)

            truth = of(moments.truth)
            figures |= {f"{group}.fid": paired_distance(of(film), truth) for group, film in films.items()}
    if video_features is not None:
        truth = np.asarray(video_features(moments.truth))[:, None]
        figures |= {
            f"{group}.fvd": paired_distance(np.asarray(video_features(film))[:, None], truth) for group, film in films.items()
        }
    return figures


def latent_action_figures(config: Config, transitions: dict | None = None) -> dict:
    """How much of the true action the code holds, on every held-out transition, and on those of which more is known.

    Args:
        transitions: From `play_every_key`, those whose effect is known to be seen or not.
    """
    train, test = (Episodes(config.record_folder(split)) for split in ("train", "test"))
    count = config.latent_action.codes
    codes = latent_actions_of(config, test)
    rows = test.windows(2, before=1)[:]
    figures = obeying.use_figures(codes[rows], test.locate(rows)[0], count)
    if not (train.known.any() and test.known.any()):
        return figures
    known = train.windows(2, before=1, labelled=True)[:]
    probed = obeying.probes(latent_actions_of(config, train)[known], train.action[known].astype(int), count)
    rows = test.windows(2, before=1, labelled=True)[:]
    true = test.action[rows].astype(int)
    figures |= obeying.information_figures("latent_action", codes[rows], true, test.locate(rows)[0], probed)
    figures |= obeying.table_figures(codes[rows], true, count)
    if transitions is not None:
        some = transitions["rows"]
        figures |= obeying.visible_figures(
            "latent_action", codes[some], test.action[some].astype(int), test.locate(some)[0], probed, transitions["visible"]
        )
    return figures


def play_every_key(moments: Moments, game) -> dict:
    """Some transitions of each episode of the moments, played under every key.

    Returns:
        A dict: `rows` int (n,), and `visible`, as `visible_effect` says.
    """
    test, chosen = moments.episodes, []
    for episode in np.unique(test.locate(moments.rows)[0]):
        steps = np.linspace(1, test.lengths[episode] - 2, min(MOMENTS_AN_EPISODE, test.lengths[episode] - 2)).astype(int)
        chosen.append(test.starts[episode] + steps)
    rows = np.concatenate(chosen)
    actions = np.broadcast_to(obeying.KEY_ACTIONS[:, None], (len(rows), len(KEYS), 1))
    played = play_on(game, test, rows, actions, "playing every key")
    following, true = test.frames(rows + 1), test.action[rows].astype(int)
    return {"rows": rows, "visible": obeying.visible_effect(played["frames"][:, :, 0], played["alive"][:, :, 0], following, true)}


def judge_figures(infer, moments: Moments, transitions: dict) -> dict:
    """How far the judge itself can be trusted, on the recorded transitions of `play_every_key`."""
    test, rows = moments.episodes, transitions["rows"]
    keys = obeying.judged_keys(infer, test.frames(test.transition_rows(rows, FRAMES - 2)))
    true, groups = test.action[rows].astype(int), test.locate(rows)[0]
    known = obeying.probes(keys, true, len(KEYS)) | {"direction": obeying.KEY_DIRECTIONS, "key": np.arange(len(KEYS))}
    figures = obeying.information_figures("judge", keys, true, groups, known)
    figures |= obeying.visible_figures("judge", keys, true, groups, known, transitions["visible"])
    wanted = KEY_OF_ACTION[true]
    figures["judge.key_f1"] = obeying.pooled(obeying.macro_f1, [keys, wanted], groups)
    figures["judge.direction_f1"] = obeying.pooled(
        obeying.macro_f1, [obeying.KEY_DIRECTIONS[keys], obeying.KEY_DIRECTIONS[wanted]], groups
    )
    return figures


def counterfactual_figures(moments: Moments, held: np.ndarray, world: World, game) -> tuple[dict, dict]:
    """Would the game have done that? The same moments under every key, dreamt and played.

    Args:
        held: uint8 (M', 6, 10, 64, 64, 3), the dreams of the first M' moments.

    Returns:
        The figures, and what the game showed, as `play_on` gives it.
    """
    rows = moments.rows[: len(held)] + PROMPT - 1
    actions = np.broadcast_to(obeying.KEY_ACTIONS[:, None], (len(held), len(KEYS), HORIZON))
    played = play_on(game, moments.episodes, rows, actions, "counterfactuals in the game")
    copy = np.repeat(moments.frames[: len(held), None, PROMPT - 1], len(KEYS), axis=1)
    figures: dict = {}
    for step in MATCHED:
        shown, alive = played["frames"][:, :, step - 1], played["alive"][:, :, step - 1]
        for row, dream in (("", held[:, :, step - 1]), ("_tokenizer", reconstruct(world, shown)[1]), ("_copy", copy)):
            figures |= obeying.matching_figures(dream, shown, alive, step, row)
    return figures, played


def play_figures(world: World, prompt: np.ndarray, prompt_actions: np.ndarray) -> dict:
    """Speed of one player's steps."""
    world.reset(prompt, prompt_actions)
    world.step(np.zeros(1, int))
    milliseconds = np.zeros(PLAY_STEPS)
    for t in range(PLAY_STEPS):
        start = time.perf_counter()
        world.step(np.array([t % world.actions]))
        milliseconds[t] = 1000 * (time.perf_counter() - start)
    times = list(milliseconds)
    return {
        "play.frames_per_second": bootstrap_figure(lambda some: 1000 / np.mean(some), times, PLAY_STEPS),
        "play.p95_ms": bootstrap_figure(lambda some: np.quantile(some, 0.95), times, PLAY_STEPS),
    }


def save_grid(path: Path, rows: list[np.ndarray | None], scale: int = 2, gap: int = 2) -> None:
    """Write rows of frames, each uint8 (T, 64, 64, 3), as one PNG; None leaves a wider gap."""
    blank = np.full((6, 1, 3), 255, np.uint8)
    width = max(len(row) for row in rows if row is not None) * (64 + gap)
    lines = []
    for row in rows:
        if row is None:
            lines.append(np.repeat(blank, width, axis=1))
            continue
        line = np.full((64 + gap, width, 3), 255, np.uint8)
        for t, frame in enumerate(row):
            line[:64, t * (64 + gap) : t * (64 + gap) + 64] = frame
        lines.append(line)
    picture = Image.fromarray(np.concatenate(lines).repeat(scale, 0).repeat(scale, 1))
    write_whole(path, lambda file: picture.save(file, format="png"))


def show(figures: dict) -> None:
    for name, value in figures.items():
        print(f"{name:40} {value['value']:9.3f}   [{value['low']:.3f}, {value['high']:.3f}]   n {value['n']}")


def load_world(config: Config, guided: bool) -> World:
    settings = config.play
    return World.load(
        config.model_folder, guided, sampling_steps=settings.sampling_steps, temperature=settings.temperature, seed=settings.seed
    )


def obedience_figures(infer, moments: Moments, dreams: dict, asked: np.ndarray, game) -> dict:
    """Dreams under keys drawn at random: whether they show them, and how they compare with the game under the same keys.

    Args:
        infer: The judge's.
        asked: int (M', 200), keys of the long dreams of the first M' moments.
    """
    count, dream = len(asked), dreams["asked"]
    played = play_on(
        game, moments.episodes, moments.rows[:count] + PROMPT - 1, obeying.KEY_ACTIONS[asked][:, None], "the same keys in the game"
    )
    real, alive = played["frames"][:, 0], played["alive"][:, 0]
    figures: dict = {}
    for row, shown, counts in (("", dream, np.ones_like(alive)), ("_game", real, alive)):
        films = np.concatenate([moments.frames[:count, :PROMPT], shown], axis=1)
        figures |= obeying.obedience_figures(infer, films, counts, asked, LASTING, row)
    for step in LASTING:
        at = alive[:, step - 1]
        if at.sum() > 1:
            for name, metric in (("psnr", psnr), ("ssim", ssim)):
                figures[f"lasting.{name}.{step}"] = mean_figure(metric(dream[at, step - 1], real[at, step - 1]))
    return figures


def evaluate(
    config: Config, teacher_forced: bool = False, inception_weights: str | None = None, video_features: str | None = None
) -> dict:
    """Measure the world `model/<world>`: `evaluation.json`, `report.html`, `windows.json` and two pictures beside it.

    Args:
        teacher_forced: Whether also to dream each frame from the true ones before it.
        inception_weights: File of InceptionV3's weights, for FID; by default Keras downloads it.
        video_features: `file.py:function`, for FVD; without it there is none.

    Returns:
        What evaluation.json holds: name to `value`, `low`, `high` (95 %), `n`.

    Raises:
        UserError: a model, the recording, or a file that was named is missing.
    """
    settings, guided = config.play, config.dynamics.actions == "true"
    inception = features.load_inception(inception_weights)
    of_video = features.load_video_features(video_features) if video_features else None
    world = load_world(config, guided)
    guided_too = not guided and latest_checkpoint(config.model_folder, world_model(True)) is not None
    moments = load_moments(config, world, guided)
    game = recorded_with(moments.episodes) if moments.true is not None else None
    left_out = {
        features.HOW_TO_GET_FID: inception is None,
        "no FVD: it takes a network that sees videos, --video_features file.py:function": of_video is None,
        f"record/{config.world} has no true actions: no figure of how much of them the codes hold, nor of obedience": moments.true
        is None,
        f"record/{config.world} was not made by a game: no counterfactuals, nor obedience": moments.true is not None
        and game is None,
    }
    judge = None
    if game is not None:
        train_judge(config)
        judge = compiled(load_checkpoint(config.model_folder, JUDGE, "dream_evaluate_tf.py")[0].infer)

    tokens, pictures = reconstruct(world, moments.frames)
    figures = tokenizer_figures(tokens, pictures, moments.frames)
    figures |= play_figures(world, moments.frames[:1, :PROMPT], moments.actions[:1, : PROMPT - 1])
    half = max(len(moments.rows) // 2, 2)  # of the moments are dreamt on for long, and under every key
    rng = np.random.default_rng(settings.seed)
    asked = rng.integers(0, len(KEYS) if game else world.actions, (half, max(LASTING)))
    code_of = np.array([world.keymap[key] for key in KEYS]) if game else np.arange(world.actions)
    guided_world = load_world(config, True) if guided_too else None
    dreams = dream_all(
        world, guided_world, moments, code_of[asked], code_of if game else code_of[:0], teacher_forced, settings.seed
    )
    of_dreams, sharp = dream_figures(moments, dreams, pictures)
    figures |= of_dreams | far_off_figures(moments, dreams, pictures, inception, of_video)
    last = moments.frames[:half, PROMPT - 1 : PROMPT]
    figures |= lasting_figures(np.concatenate([last, dreams["asked"]], axis=1), moments.truth, LASTING)
    transitions, played = None, None
    if game is not None:
        transitions = play_every_key(moments, game)
        figures |= judge_figures(judge, moments, transitions) | obedience_figures(judge, moments, dreams, asked, game)
        matched, played = counterfactual_figures(moments, dreams["held"], world, game)
        figures |= matched
    if not guided:
        figures |= latent_action_figures(config, transitions)

    prefix, folder = "guided_" if guided else "", config.model_folder
    findings = Findings(
        title=config.world,
        guided=guided,
        figures=figures,
        left_out=[why for why, out in left_out.items() if out],
        frames=moments.frames,
        pictures=pictures,
        dream=dreams[PROMPT, ""],
        order=np.argsort(sharp.mean(axis=1)),
        actions=dreams["each"],
        held=dreams.get("held"),
        game=played["frames"] if played else None,
        lasting=dreams["asked"],
    )
    strips = []
    for i in np.linspace(0, len(moments.rows) - 1, 4).astype(int):
        strips += [moments.frames[i], pictures[i], np.concatenate([moments.frames[i, :PROMPT], dreams[PROMPT, ""][i]]), None]
    save_grid(folder / f"{prefix}strips.png", strips[:-1])
    save_grid(folder / f"{prefix}actions.png", list(dreams["each"][:, :HORIZON]))
    write_json(folder / f"{prefix}windows.json", describe(config, moments))
    write_report(folder / f"{prefix}report.html", findings)
    write_json(folder / f"{prefix}evaluation.json", figures)
    show({name: value for name, value in figures.items() if re.fullmatch(SUMMARY, name)})
    for why in findings.left_out:
        print(why)
    print(f"wrote {folder}/{prefix}report.html, to read; {prefix}evaluation.json beside it has all {len(figures)} figures")
    return figures


def describe(config: Config, moments: Moments) -> dict:
    """The windows that the figures were taken over, and the settings they were taken with."""
    episode, step = moments.episodes.locate(moments.rows)
    return {
        "prompt_frames": PROMPT,
        "horizon": HORIZON,
        "play": asdict(config.play),
        "recording": moments.episodes.fingerprint,
        "windows": [[Path(moments.episodes.episodes[e].path).name, int(t)] for e, t in zip(episode, step)],
    }
