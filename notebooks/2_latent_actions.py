# %% [markdown]
# # 2. Latent actions
#
# The films do not say which keys were pressed. This notebook finds it out from pixels alone: a *latent action* is a code, one of six
# here, that stands for what happened between two frames.
#
# The same as `python idm_training.py`. [Notebook 1](1_record.ipynb) made the recording.

# %%
import sys

sys.path.insert(0, "..")  # the project's folder

from genie_tf.notebook import settings

config = settings("configs/coinrun_small.yaml")  # configs/coinrun_plain.yaml for the full size
vars(config.latent_action)

# %% [markdown]
# ## Why the code must name the action
#
# Here the game is set back to the same moment and played under each key. Some of what follows depends on the key. The rest does not:
# the player goes on falling, and the scenery goes on moving. A code that describes *all* of the next frame would help to predict it.
# But it would not be the action: it would mean something else in every state, and no key could ask for it. So the code has to leave
# out what the past foretells.

# %%
from genie_tf.lessons import latent_actions

latent_actions.every_key(config)

# %% [markdown]
# ## The training
#
# While the model trains, the figure is drawn again after an epoch. Below the curves stand two transitions. For each you see a frame,
# the next one, and what the model's own decoder expects under each code. Perplexity is the number of codes in use.
#
# You can interrupt the cell. The last finished epoch is kept, and the cell goes on from there. At the end, 200 labelled transitions
# give each key its code.

# %%
from genie_tf.stages import train_latent_action

train_latent_action(config, live=True);

# %% [markdown]
# ## The idea, step by step
#
# The agent drew its actions whatever the past was. So the *rank* of an action's effect among the effects that the past allows means
# the same everywhere: low for one direction, high for the other. Each row below is one transition.
#
# ![The latent action model](../docs/latent_action.png)
#
# 1. **Registration** finds the shift of the picture between frames t and t + 1, in columns and rows.
# 2. A network **expects** a distribution of this shift from the past (grey). The red line is the true shift. The share of the
#    distribution below it is its rank.
# 3. A second network looks at both frames and names the rank too (green). The product of both has the mean that is marked red.
# 4. The mean rank of the columns is divided into three parts, that of the rows into two. The pair of parts is the code. No codebook is
#    learnt, so it cannot collapse.

# %%
latent_actions.steps_to_a_code(config)

# %% [markdown]
# ## Codes and keys
#
# The keys were not used in the training. On held-out levels, this is how often each code was found while a key was held. In the air a
# jump changes nothing, so no model can tell all keys.

# %%
latent_actions.codes_and_keys(config)

# %% [markdown]
# The keymap makes the codes playable: each key of the game gets the code that speaks for it.

# %%
latent_actions.keys(config)

# %% [markdown]
# ## What collapse looks like
#
# The usual way is to train an encoder, a codebook and a decoder together, so that the code helps the decoder. Early on, or for ever,
# such a model puts most transitions into a few codes, or codes that have nothing to do with the key. On the right is the paper's
# model, `kind: st_transformer`, after a very short training: codes that hardly occur, and keys that share their codes.

# %%
latent_actions.collapse(config, steps=60)

# %% [markdown]
# Two numbers say it in one line: *perplexity*, the number of codes in use, and *NMI*, the information of the code about the true
# action. `python dream_evaluate_tf.py --only_latent_action` prints both for held-out levels.
#
# This model needs a picture that scrolls with the player. For other games, `idm_training.py` chooses another one, `avatar` or
# `hypotheses`: [how it works](../docs/how_it_works.md).
#
# Next: [3. Tokenize](3_tokenize.ipynb)
