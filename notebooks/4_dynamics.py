# %% [markdown]
# # 4. Dynamics
#
# The dynamics is a transformer. It sees the tokens of the past and an action, and predicts the tokens that follow. It is the part that
# dreams.
#
# ![The dynamics](../docs/dynamics.png)
#
# The same as `python dream_train_tf.py`. It needs the [latent actions](2_latent_actions.ipynb) and the [tokens](3_tokenize.ipynb).

# %%
import sys

sys.path.insert(0, "..")  # the project's folder

from genie_tf.notebook import settings

config = settings("configs/coinrun_small.yaml")  # configs/coinrun_plain.yaml for the full size
vars(config.dynamics)

# %% [markdown]
# ## The training
#
# Below the curves: recorded films, and below each a rollout under the same actions, from its first half. *Shuffled actions* is the loss
# under the actions of other films, divided by the loss. Above 1, the model listens to the action. At 1, no key will ever do anything.

# %%
from genie_tf.stages import train_world_model

train_world_model(config, live=True);

# %% [markdown]
# ## Masking
#
# A training example is a sequence of steps. The model gets every step twice. As the *past*, some of its tokens are replaced by random
# ones, because in play the past has errors too. To *predict*, a random share is masked (white). The loss counts the masked tokens alone.
# Each row is a step, each column a token.

# %%
from genie_tf.lessons import dreams

dreams.masking(config)

# %% [markdown]
# ## Who sees whom
#
# Within a step, every token attends to every other and to the action. Over time, a token attends to the same place in a few earlier
# steps, and never to a later one. Every block reaches further back, so the last one has seen more. In play the keys and values of the
# past are kept, and a step always takes the same time.

# %%
dreams.attention_mask(config)

# %% [markdown]
# ## What a longer memory buys
#
# The loss of the same held-out steps, all tokens masked, when the model sees one step before them, two, and so on. Where the curve is
# flat, a longer memory buys nothing *for the next step*. It would help to know a place again after a long walk: `memory.psnr` of the
# evaluation measures that.

# %%
dreams.memory(config)

# %% [markdown]
# ## A step fills in
#
# All tokens of a step begin masked. Each MaskGIT step draws all of them, and keeps those of which the model is most sure, with some
# noise. The kept tokens are inputs of the next step. White is still masked. The first row of colours is the shifts.

# %%
dreams.filling_in(config)

# %% [markdown]
# ## The flow of tokens
#
# A rollout under random keys: the last frame of each step, the key, and all tokens of the step as a column. Tokens that keep their
# colour say that nothing new came into their square.

# %%
dreams.flow(config)

# %% [markdown]
# Next: [5. Play](5_play.ipynb)
