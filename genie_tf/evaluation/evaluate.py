"""Evaluate a trained world on held-out levels: image quality, stability of long rollouts, and controllability."""

import re
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from genie_tf.config import JUDGE, Config, world_model
from genie_tf.episodes.controls import NONE
from genie_tf.episodes.dataset import Episodes
from genie_tf.episodes.recorded import recorded_with
from genie_tf.episodes.recorder import controls_of
from genie_tf.evaluation import features
from genie_tf.evaluation.frames import dream_figures, far_off_figures, game_time_figures, lasting_figures
from genie_tf.evaluation.guesses import guess_figures
from genie_tf.evaluation.latent_actions import latent_action_figures
from genie_tf.evaluation.memory import memory_figures
from genie_tf.evaluation.metrics import bootstrap_figure
from genie_tf.evaluation.obedience import asked_figures, counterfactual_figures, judge_figures, play_every_key
from genie_tf.evaluation.reconstruction import reconstruct, tokenizer_figures
from genie_tf.evaluation.report import Findings, write_report
from genie_tf.evaluation.resting import resting_figures
from genie_tf.evaluation.rollouts import (
    HORIZON,
    LASTING,
    PROMPT,
    Moments,
    dream_all,
    evaluation_windows,
    load_moments,
    reconstructed,
)
from genie_tf.files import alone, write_json, write_whole
from genie_tf.pictures import grid
from genie_tf.stages import actions_for_tokenizer, held_frames, load_tokenizer, train_judge
from genie_tf.training.backend import compiled
from genie_tf.training.checkpoints import latest_checkpoint, load_checkpoint
from genie_tf.world import World, adopt

PLAY_STEPS = 100
WORST = 10  # windows in the picture of the worst
SUMMARY = (  # the printed figures; evaluation.json contains all
    r"tokenizer\..*|latent_action\.(visible\.)?\w+|judge\.(visible\.)?\w+|dynamics\.\w+|dynamics\.\w+\.(1|4|10)"
    r"|dynamics\.psnr_after\.(5|25|50)|(obey|lasting|counterfactual|memory|resting)\.(?!\w+_after)\w+(\.\d+)?|(guess|play)\..*"
)


def show(figures: dict) -> None:
    for name, value in figures.items():
        print(f"{name:40} {value['value']:9.3f}   [{value['low']:.3f}, {value['high']:.3f}]   n {value['n']}")


def load_world(config: Config, guided: bool) -> World:
    return World.load(config.model_folder, guided, **config.play.sampling)


def play_figures(world: World, prompt: np.ndarray) -> dict:
    """Speed of the steps with one player. A step may predict several frames."""
    world.reset(prompt[:, -1:])
    world.step(np.zeros(1, int))
    milliseconds = np.zeros(PLAY_STEPS)
    for t in range(PLAY_STEPS):
        start = time.perf_counter()
        world.step(np.array([t % world.actions]))
        milliseconds[t] = 1000 * (time.perf_counter() - start)
    times = list(milliseconds)
    return {
        "play.frames_per_second": bootstrap_figure(lambda some: 1000 * world.stride / np.mean(some), times, PLAY_STEPS),
        "play.p95_ms": bootstrap_figure(lambda some: np.quantile(some, 0.95), times, PLAY_STEPS),
    }


def describe(config: Config, moments: Moments) -> dict:
    """The windows and settings of the evaluation."""
    episode, step = moments.episodes.locate(moments.rows)
    return {
        "prompt_frames": PROMPT,
        "horizon": HORIZON,
        "play": asdict(config.play),
        "recording": moments.episodes.fingerprint,
        "windows": [[Path(moments.episodes.episodes[e].path).name, int(t)] for e, t in zip(episode, step)],
    }


def save_pictures(folder: Path, prefix: str, findings: Findings) -> None:
    """Write three pictures: four windows (recorded, reconstructed, rollout), the ten worst, and one prompt under each action."""
    strips, worst = [], []
    for i in np.linspace(0, len(findings.frames) - 1, 4).astype(int):
        strips += [findings.frames[i], findings.pictures[i], np.concatenate([findings.frames[i, :PROMPT], findings.dream[i]])]
    for i in findings.order[:WORST]:
        worst += [findings.frames[i], np.concatenate([findings.frames[i, :PROMPT], findings.dream[i]])]
    for name, rows in (("strips", strips), ("worst", worst), ("actions", list(findings.actions[:, :HORIZON]))):
        picture = grid(rows, scale=1 if name == "worst" else 2)
        write_whole(folder / f"{prefix}{name}.png", lambda file, picture=picture: picture.save(file, format="png"))


@alone
def evaluate_tokenizer(config: Config) -> dict:
    """Evaluate only the tokenizer, on the frames that `evaluate` takes. This needs no other model.

    Returns:
        As `evaluate`. Nothing is written but a picture of recorded and reconstructed frames.

    Raises:
        UserError: the tokenizer or the recording is missing.
    """
    tokenizer, file = load_tokenizer(config)
    test = Episodes(config.record_folder("test"), tokenizer.stride)
    test.check_size(tokenizer.frame_size, file.parent)
    rows = evaluation_windows(test, PROMPT + HORIZON, config.play.evaluation_windows, config.play.seed)
    films = test.films(rows, PROMPT + HORIZON)
    actions = actions_for_tokenizer(config, tokenizer, {"test": test})["test"][rows[:, None] + np.arange(PROMPT + HORIZON - 1)]
    tokens, pictures = reconstruct(tokenizer, films, actions)
    figures = tokenizer_figures(tokens, pictures, films, recorded_with(test), tokenizer.given)
    show(figures)
    some = np.linspace(0, len(films) - 1, 4).astype(int)
    picture = grid([strip for i in some for strip in (films[i], pictures[i])], scale=4)
    write_whole(config.model_folder / "tokenizer.png", lambda file: picture.save(file, format="png"))
    share = "a frame" if tokenizer.stride == 1 else f"for {tokenizer.stride} frames"
    print(f"{tokenizer.count_params():,} parameters, {tokens.shape[-1]} tokens {share}; wrote {config.model_folder}/tokenizer.png")
    return figures


@alone
def evaluate_latent_actions(config: Config) -> dict:
    """Evaluate only the latent actions and the supervised action model. This needs no tokenizer and no dynamics.

    Returns:
        As `evaluate`. Nothing is written.

    Raises:
        UserError: the latent action model or the recording is missing.
    """
    test = Episodes(config.record_folder("test"), held_frames(config))
    game = recorded_with(test) if test.known.all() else None
    figures, transitions = {}, None
    if game is not None:
        rows = evaluation_windows(test, PROMPT + HORIZON, config.play.evaluation_windows, config.play.seed)
        train_judge(config)
        infer = compiled(load_checkpoint(config.model_folder, JUDGE, "dream_evaluate_tf.py")[0].infer)
        transitions = play_every_key(test, rows, game)
        figures = judge_figures(infer, test, transitions, controls_of(game))
    figures |= latent_action_figures(config, transitions)
    show(figures)
    return figures


@alone
def evaluate(
    config: Config, teacher_forced: bool = False, inception_weights: str | None = None, video_features: str | None = None
) -> dict:
    """Evaluate `model/<world>`. Writes `evaluation.json`, `report.html`, `windows.json` and three pictures to this folder.

    Args:
        config: The world; sections `judge`, `dynamics`, `play`.
        teacher_forced: Whether to also predict each frame from the true frames before it.
        inception_weights: File of InceptionV3's weights, for FID; by default Keras downloads it.
        video_features: `file.py:function`, for FVD. By default FVD is not computed.

    Returns:
        The content of evaluation.json: a dict from names to `value`, `low`, `high` (95 %), `n`.

    Raises:
        UserError: a model, the recording, or a given file is missing.
    """
    settings, folder, guided = config.play, config.model_folder, config.dynamics.actions == "true"
    inception = features.load_inception(inception_weights)
    of_video = features.load_video_features(video_features) if video_features else None
    if not guided:
        adopt(folder)
    world = load_world(config, guided)
    moments = load_moments(config, world, guided)
    game = recorded_with(moments.episodes) if moments.true is not None else None
    left_out = []
    if inception is None:
        left_out.append(features.HOW_TO_GET_FID)
    if of_video is None:
        left_out.append("no FVD: it needs a network that takes videos, --video_features file.py:function")
    if moments.true is None:
        left_out.append(
            f"record/{config.world} has no true actions: no figures of the information in the codes, and none of obedience"
        )
    elif game is None:
        left_out.append(f"record/{config.world} was not made by a game: no counterfactuals, and no judge of obedience")
    else:
        train_judge(config)

    shown = reconstructed(world, moments)
    pictures = shown["pictures"]
    figures = tokenizer_figures(shown["tokens"], shown["film"], moments.films, game, world.tokenizer.given)
    figures |= play_figures(world, moments.films[:1])
    every_key, for_long = (max(len(moments.rows) // part, 2) for part in (4, 8))  # moments for rollouts of every key; long rollouts
    rng = np.random.default_rng(settings.seed)
    controls = moments.controls if game else None
    code_of = np.array([world.keymap[key] for key in controls]) if controls else np.arange(world.actions)
    asked = rng.integers(0, len(code_of), (for_long, max(LASTING)))
    guided_too = not guided and latest_checkpoint(folder, world_model(True)) is not None
    guided_world = load_world(config, True) if guided_too else None
    held = np.tile(code_of, (every_key if game else 0, 1))
    dreams = dream_all(world, guided_world, moments, code_of[asked], held, teacher_forced, settings.seed)
    of_dreams, sharp = dream_figures(moments, dreams, pictures)
    figures |= of_dreams | guess_figures(dreams["probability"], sharp)
    figures |= far_off_figures(moments, dreams, pictures, inception, of_video)
    before = moments.frames[:for_long, PROMPT - 1 : PROMPT]
    figures |= lasting_figures(np.concatenate([before, dreams["asked"]], axis=1), moments.truth, LASTING)
    transitions, played = None, None
    if game is not None and controls is not None:
        infer = compiled(load_checkpoint(folder, JUDGE, "dream_evaluate_tf.py")[0].infer)
        transitions = play_every_key(moments.episodes, moments.rows, game)
        matched, played = counterfactual_figures(infer, moments, dreams["held"], code_of, world, game)
        figures |= (
            judge_figures(infer, moments.episodes, transitions, controls)
            | asked_figures(infer, moments, dreams["asked"], asked, game)
            | matched
        )
        if controls.has_directions:
            figures |= memory_figures(world, moments, every_key, code_of, game)
        if NONE in controls:
            figures |= resting_figures(world, moments, for_long, code_of, game)
        if not transitions["replayed"]:
            left_out.append("no counterfactuals: the game does not come to the recorded frames again, or not to the last pixel")
        if not controls.has_directions:
            left_out.append("no figures of directions: this game has no keys for left and right")
    if not guided:
        figures |= latent_action_figures(config, transitions)
    if game is not None:
        figures |= game_time_figures(figures, dreams["film"], moments, game)

    findings = Findings(
        title=config.world,
        guided=guided,
        figures=figures,
        left_out=left_out,
        frames=moments.frames,
        pictures=pictures,
        dream=dreams[PROMPT, ""],
        order=np.argsort(sharp.mean(axis=1)),
        actions=dreams["each"],
        held=dreams.get("held"),
        game=played,
        lasting=dreams["asked"],
        controls=list(controls or []),
    )
    prefix = "guided_" if guided else ""
    save_pictures(folder, prefix, findings)
    write_json(folder / f"{prefix}windows.json", describe(config, moments))
    write_report(folder / f"{prefix}report.html", findings)
    write_json(folder / f"{prefix}evaluation.json", figures)
    show({name: value for name, value in figures.items() if re.fullmatch(SUMMARY, name)})
    for why in left_out:
        print(why)
    print(f"wrote {folder}/{prefix}report.html, to read; {prefix}evaluation.json beside it has all {len(figures)} figures")
    return figures
