"""Figures of the fifth notebook: the figures of the evaluation, each on an example."""

import json
import re

import numpy as np
from keras import ops
from matplotlib.figure import Figure
from tqdm import tqdm

from genie_tf.config import JUDGE, Config
from genie_tf.episodes.recorded import recorded_with
from genie_tf.errors import UserError
from genie_tf.evaluation.evaluate import load_world
from genie_tf.evaluation.features import block_statistics
from genie_tf.evaluation.game import play_on
from genie_tf.evaluation.metrics import psnr, ssim
from genie_tf.evaluation.rollouts import HORIZON, PROMPT, Moments, load_moments, reconstructed, rollout
from genie_tf.latent_action import FRAMES
from genie_tf.lessons.panels import WIDTH, Table, left_out, picture, pictures
from genie_tf.training.checkpoints import load_checkpoint

MEANINGS = {
    r"tokenizer\.psnr": "sharpness of the tokenizer alone, in dB: higher is better, and the dream can't be sharper",
    r"tokenizer\.psnr_moving": "the same over the pixels that no shift of the frame before explains: sprites, coins",
    r"tokenizer\.perplexity": "how many codes are in use, weighted by their frequency",
    r"latent_action\.nmi": "information of the latent action about the true one, of its most: 0 none, 1 all",
    r"latent_action\.probe_accuracy": "how often the direction is read off the code alone",
    r"latent_action\.delta_psnr": "how much worse its own decoder becomes under shuffled codes, in dB",
    r"judge\.nmi": "the same information for the judge, a model trained with labels: what can be reached",
    r"dynamics\.psnr_after\.(5|25|50)": "sharpness of the dream after so many game steps, under the actions of the recording",
    r"dynamics\.psnr_copy\.1": "the same for the last frame repeated: a dream has to be better",
    r"dynamics\.delta_psnr_genie": "how much worse the dream becomes under random actions, in dB: above 0 if actions matter",
    r"obey\.direction_f1_after\.(50|1000)": "whether the judge sees the direction that was asked for, 0 to 1",
    r"counterfactual\.match_after\.(5|50)": "how often the dream under a key is nearest to the game under the same key",
    r"counterfactual\.chance\.1": "the same for a dream that does not know the key",
    r"lasting\.frechet_blocks_after\.(50|1000)": "how far long dreams are from recorded frames: lower is better",
    r"lasting\.frozen\.200": "share of the long dreams that stand still",
    r"memory\.psnr\.(4|16)": "walk right and back again: how much the dream then resembles the place where it began, in dB",
    r"play\.frames_per_second": "speed of play",
}


def explained(config: Config) -> Table:
    """The chief figures of `evaluation.json`, each with its meaning.

    Raises:
        UserError: the world has not been evaluated.
    """
    file = config.model_folder / "evaluation.json"
    if not file.exists():
        raise UserError(f"no {file}: run `python dream_evaluate_tf.py --world {config.world}`")
    figures, rows = json.loads(file.read_text()), {}
    for pattern, meaning in MEANINGS.items():
        for name, figure in figures.items():
            if re.fullmatch(pattern, name):
                value = f"{figure['value']:.3g} [{figure['low']:.3g}, {figure['high']:.3g}]"
                rows[f"`{name}`"] = {"value, 95 % interval": value, "meaning": meaning}
    return Table(rows)


class Examples:
    """A few held-out moments and rollouts from them, for the figures below.

    Args:
        config: The world.
        count: Number of moments.
    """

    def __init__(self, config: Config, count: int = 4):
        self.config, self.world = config, load_world(config, guided=False)
        every = load_moments(config, self.world, guided=False)
        some = np.linspace(0, len(every.rows) - 1, min(count, len(every.rows))).astype(int)
        true = None if every.true is None else every.true[some]
        self.moments = Moments(every.episodes, every.rows[some], every.films[some], every.actions[some], true, every.controls)
        self.game = recorded_with(every.episodes) if true is not None else None

    def dream(self, actions: np.ndarray, moments: int | None = None) -> np.ndarray:
        """Rollouts uint8 (n, T, H, W, 3) from the first moments under `actions` int (n, T)."""
        prompt = self.moments.prompt(PROMPT, moments)
        frames, acted = (np.repeat(value, len(actions) // len(value), axis=0) for value in prompt.values())
        every = self.moments.episodes.every
        with tqdm(total=actions.size * every, desc="dreaming", unit=" frames", leave=False) as progress:
            return rollout(self.world, frames, acted, actions, progress, batch=len(actions), every=every)["dream"]

    def sharpness(self) -> Figure:
        """PSNR and SSIM: one film, its dream, the tokenizer's pictures, and the last frame repeated."""
        truth, dream = self.moments.truth, self.dream(self.moments.actions[:, PROMPT - 1 :])
        shown = reconstructed(self.world, self.moments)["pictures"][:, PROMPT:]
        still = np.repeat(self.moments.frames[:, PROMPT - 1 : PROMPT], HORIZON, axis=1)
        at, rows, titles = [0, 1, 3, 6, 9], {"recorded": truth[0]}, []
        rows |= {"dreamt": dream[0], "tokenizer": shown[0], "last frame": still[0]}
        figure = pictures({name: list(row[at]) for name, row in rows.items()}, [f"after {t + 1} actions" for t in at])
        for t in at:
            pairs = [(one[:1, t], truth[:1, t]) for one in (dream, shown, still)]
            titles.append([f"{psnr(*pair)[0]:.1f} dB, {ssim(*pair)[0]:.2f}" for pair in pairs])
        panels = [axes for axes in figure.axes if axes.axison]
        for line, column in np.ndindex(3, len(at)):
            panels[(line + 1) * len(at) + column].set_title(titles[column][line], fontsize=7)
        return figure

    def counterfactual(self, actions: int = 4) -> Figure:
        """One moment under every key, in the game and in the dream, and the distances between all of them."""
        if self.game is None or self.moments.controls is None:
            return left_out("it needs a recording of a game, because it plays the game again")
        controls = self.moments.controls
        code_of = np.array([self.world.keymap[key] for key in controls])
        held = controls.first[None, :, None].repeat(len(self.moments.rows), axis=0).repeat(actions, axis=2)
        played = play_on(self.game, self.moments.episodes, self.moments.rows + PROMPT - 1, held, "the game under every key")
        whole = np.flatnonzero(played["alive"].all(axis=(1, 2)))
        one = int(whole[0]) if len(whole) else 0
        every_code = np.tile(code_of, (len(self.moments.rows), 1)).reshape(-1, 1).repeat(actions, axis=1)
        dream = self.dream(every_code).reshape(len(self.moments.rows), len(controls), actions, *self.world.frame_size, 3)
        game, dreamt = played["frames"][one, :, -1].astype(float), dream[one, :, -1].astype(float)
        distance = np.sqrt(np.square(dreamt[:, None] - game[None]).mean(axis=(2, 3, 4)))
        figure = Figure(figsize=(WIDTH, 3.0), layout="constrained")
        left, right = figure.subfigures(1, 2, width_ratios=(2.2, 1), squeeze=False)[0]
        panels = left.subplots(2, len(controls))
        for key, name in enumerate(controls):
            picture(panels[0, key], game[key].astype(np.uint8), name)
            picture(panels[1, key], dreamt[key].astype(np.uint8))
        panels[0, 0].set_ylabel("game", fontsize=8)
        panels[1, 0].set_ylabel("dream", fontsize=8)
        axes = right.subplots()
        axes.imshow(distance, cmap="Blues_r", interpolation="nearest")
        for row, column in np.ndindex(distance.shape):
            weight = "bold" if distance[row, column] == distance[row].min() else "normal"
            axes.text(column, row, f"{distance[row, column]:.0f}", ha="center", va="center", fontsize=7, weight=weight)
        axes.set_xticks(range(len(controls)), list(controls), fontsize=7)
        axes.set_yticks(range(len(controls)), list(controls), fontsize=7)
        axes.set_xlabel("game under", fontsize=8)
        axes.set_ylabel("dream under", fontsize=8)
        axes.set_title("difference of the pictures", fontsize=8)
        return figure

    def obedience(self, steps: int = 10) -> Figure:
        """A dream under random keys, and the keys that the judge sees in it."""
        controls = self.moments.controls
        if controls is None:
            return left_out("it needs a judge, which learns from recorded actions")
        judge, _ = load_checkpoint(self.config.model_folder, JUDGE, "dream_evaluate_tf.py")
        asked, names = np.random.default_rng(2).integers(0, len(controls), steps), list(controls)
        code_of = np.array([self.world.keymap[key] for key in controls])
        dream = self.dream(code_of[asked][None], 1)
        film = np.concatenate([self.moments.frames[0, :PROMPT], dream[0]])
        windows = film[np.maximum(np.arange(steps)[:, None] + PROMPT + 1 - FRAMES + np.arange(FRAMES), 0)]
        seen = ops.convert_to_numpy(judge.infer(ops.convert_to_tensor(windows))).astype(int)
        titles = [f"asked {names[a]}\nseen {names[s]}" for a, s in zip(asked, seen)]
        return pictures({"": [film[PROMPT - 1], *dream[0]]}, ["prompt", *titles], 0.95)

    def random_actions(self) -> Figure:
        """ΔPSNR: the same prompt under the actions of the recording, and under random ones."""
        own = self.moments.actions[:, PROMPT - 1 :]
        random = np.random.default_rng(0).choice(np.unique(self.moments.actions), own.shape)
        at, truth = [0, 1, 3, 6, 9], self.moments.truth
        rows, titles = {"recorded": list(truth[-1, at])}, [f"after {t + 1} actions" for t in at]
        for name, actions in (("its actions", own), ("random", random)):
            dream = self.dream(actions)
            rows[f"{name}: {psnr(dream, truth)[:, 3].mean():.1f} dB after 4"] = list(dream[-1, at])
        return pictures(rows, titles)

    def long_dream(self, steps: int = 200) -> Figure:
        """A long rollout under random keys, and how far its frames are from recorded ones."""
        codes = np.array(list(self.world.keymap.values()))
        actions = np.random.default_rng(1).choice(codes, (len(self.moments.rows), steps))
        dream, at = self.dream(actions), np.unique(np.geomspace(1, steps, 9).astype(int)) - 1
        recorded = block_statistics(self.moments.films.reshape(-1, *self.moments.films.shape[2:]))
        near = [np.sqrt(np.square(block_statistics(dream[:1, t]) - recorded).sum(axis=1).min()) for t in at]
        return pictures({"dream": list(dream[0, at])}, [f"action {t + 1}\ndistance {d:.1f}" for t, d in zip(at, near)], 1.0)
