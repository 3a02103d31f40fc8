# %% [markdown]
# # 1. Record
#
# A world model learns from films. This notebook makes them: a random agent plays CoinRun, and every episode is kept as one file.
#
# The five notebooks follow the five steps: **record → latent actions → tokenize → dynamics → play**. Each step is also a script. A
# notebook and its script call the same function and write the same files, so you can stop in one and go on in the other.
#
# ![The way of the data](../docs/overview.png)
#
# The settings below are those of a small world. Each notebook then takes a few minutes on two cores. For the full size, change the
# file to `configs/coinrun_plain.yaml`. The outputs that are stored here are those of the full size.

# %%
import sys

sys.path.insert(0, "..")  # the project's folder

from genie_tf.notebook import settings

config = settings("configs/coinrun_small.yaml")  # options can follow: "--record.agent", "sticky"
vars(config.record)

# %% [markdown]
# ## The recording
#
# Sixty-four games are played at once, and every game step is a frame. If you interrupt the cell, run it again: finished parts are not
# recorded again. `./data_collect.bash 2 --config configs/coinrun_small.yaml` does the same with two workers.

# %%
from genie_tf.episodes.recorder import record

record(config.record, config.world)

# %% [markdown]
# ## What an episode is
#
# An episode is one `.npy` file, a structured array with a row for each step. The action of a row was taken *at* its frame and led to
# the frame of the next row. Nothing after this notebook needs the actions: the models learn from the frames alone. They are kept to
# measure how well the actions were found.

# %%
from genie_tf.lessons import recording

recording.fields(config)

# %% [markdown]
# The agent draws a key and holds it for five game steps, a third of a second. One step would be too short: from one frame to the next,
# an action changes the velocity by a tenth of a pixel. After five steps a person sees what was pressed. The frames below are those at
# which an action begins.

# %%
recording.episode(config)

# %% [markdown]
# Training, validation and test come from different levels. All figures of this project come from levels that no model was trained on.
#
# ## Who plays
#
# A world model can only show what it has seen. The lines below are films of sixteen players each: how far the picture has moved to the
# right. A line ends where the player dies or reaches the coin. `--record.agent` chooses the agent, and `agent_training.py` trains one
# that plays well.

# %%
recording.agents(config, ("controls", "original", "sticky"))

# %% [markdown]
# ## Other games
#
# `--record.game` takes all 16 games of Procgen. `source: gymnasium` in the settings takes Atari and every other Gymnasium environment
# with discrete actions that draws its frames. `docs/extend.md` records a game of your own.

# %%
recording.games(config, ("coinrun", "ninja", "climber", "jumper", "bigfish", "maze", "starpilot", "fruitbot"))

# %% [markdown]
# ## Your own videos
#
# Videos need no game and no labels:
#
#     ./data_collect.bash 2 --video 'clips/*.mp4' --name mygame --fps 15
#
# They are cropped, resized, and cut at scene changes. Continue with `settings("configs/coinrun_small.yaml", "--world", "mygame")` in
# the next notebooks.
#
# Next: [2. Latent actions](2_latent_actions.ipynb)
