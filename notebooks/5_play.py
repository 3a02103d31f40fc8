# %% [markdown]
# # 5. Play
#
# All three models together are a world. It starts from a few recorded frames, takes an action, and returns the next frames.
#
# `make play` opens a window. `python dream_play_tf.py --actions "dd[wd]aa" --out dream.gif` writes a film.

# %%
import sys

sys.path.insert(0, "..")  # the project's folder

from genie_tf.notebook import settings

config = settings("configs/coinrun_small.yaml", "--play.scale", "2")  # or configs/coinrun_plain.yaml
vars(config.play)

# %% [markdown]
# ## In three lines
#
# A world has the shape of an environment: `reset` with a prompt, then `step` with actions, in batches.

# %%
from genie_tf.episodes.dataset import Episodes
from genie_tf.world import World

world = World.load(config.model_folder, **config.play.sampling)
prompt = Episodes(config.record_folder("test")).frames(range(16))[None]
world.reset(prompt)
frames = world.step([world.keymap["d"] if "d" in world.keymap else 0])
print(f"a prompt of {prompt.shape[1]} frames, then the frames of one step: {frames.shape}")
print(f"keys and their latent actions: {world.keymap}")

# %% [markdown]
# ## Given keys
#
# Every key is held for one action, five frames. Keys in brackets are held together.

# %%
from genie_tf.lessons.panels import film
from genie_tf.play.headless import play_keys

keys = "dd[wd]daa[wa]" if {"a", "d", "w"} <= set(world.keymap) else "111222333"
play_keys(config, keys, f"model/{config.world}/notebook.gif")
film(f"model/{config.world}/notebook.gif", width=256)

# %% [markdown]
# ## Your keys
#
# Click the picture, then play with the keys of the game, or press the buttons. The digits are the latent actions, r starts from another
# prompt. The cell returns at once. The dream runs while the picture has the focus and no other cell runs.

# %%
from genie_tf.play.widget import Player

Player(config)

# %% [markdown]
# ## How good it is
#
# `evaluate` plays the world from held-out moments and compares it with the game. It writes all figures to `evaluation.json`, and a page
# with pictures to `report.html`, in the model's folder. `python dream_evaluate_tf.py` does the same.

# %%
from genie_tf.evaluation.evaluate import evaluate

if not (config.model_folder / "evaluation.json").exists():
    evaluate(config)

# %% [markdown]
# ### What the figures mean

# %%
from genie_tf.lessons import evaluation

evaluation.explained(config)

# %% [markdown]
# ### Sharpness: `psnr`, `ssim`
#
# From the same moment, under the actions of the recording: the film, the dream, the tokenizer's picture of the film (the dream can't be
# sharper), and the last frame repeated (a dream has to be better). Above each picture are its PSNR and SSIM. PSNR compares pixel by
# pixel, so a sharp dream whose ground lies one pixel too high has a low one.

# %%
examples = evaluation.Examples(config)
examples.sharpness()

# %% [markdown]
# ### Do actions matter: `delta_psnr`
#
# The same prompt under the actions of the recording and under random ones. ΔPSNR is the difference of their PSNR.

# %%
examples.random_actions()

# %% [markdown]
# ### Does it obey: `counterfactual.match`, `obey.direction_f1`
#
# One moment under every key, in the game and in the dream. The table has the difference between each dream and each game. A dream
# matches if the smallest number of its row (bold) stands under its own key.

# %%
examples.counterfactual()

# %% [markdown]
# The judge is a network that was trained on recorded films with labels. It names the key that it sees in five frames. It may be wrong
# even for the game itself: a jump in the air cannot be seen. `obey.direction_f1` counts left, right and neither.

# %%
examples.obedience()

# %% [markdown]
# ### Does it last: `lasting.frechet_blocks`, `lasting.frozen`
#
# A long dream under random keys. The distance is that of the mean and the spread of each 8 × 8 block to the nearest recorded frame of
# these examples. The evaluation compares the whole sets of frames (Fréchet distance), after 50 and after 1,000 game steps.

# %%
examples.long_dream()

# %% [markdown]
# `docs/results.md` holds the figures of the full-size world, with the command of each.
