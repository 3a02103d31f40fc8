# %% [markdown]
# # 3. Tokenize
#
# A frame of 64 × 64 pixels has 12,288 numbers. A *tokenizer* turns frames into a few tokens, each one of a fixed set of codes, and
# back into pixels. The dynamics then predicts tokens, not pixels.
#
# The same as `python tokenizer_training.py`. This world's tokenizer sees the latent actions, so
# [notebook 2](2_latent_actions.ipynb) comes first.

# %%
import sys

sys.path.insert(0, "..")  # the project's folder

from genie_tf.notebook import settings

config = settings("configs/coinrun_small.yaml")  # configs/coinrun_plain.yaml for the full size
vars(config.tokenizer)

# %% [markdown]
# ## Tokens that say only what is new
#
# Most of a frame is the frame before, moved. The kind `delta` (after Δ-IRIS) uses this. Its decoder sees its own last picture and the
# action beside the tokens. Twenty-one tokens stand for five frames: five of them are the shifts of the picture, and sixteen are a
# coarse grid of codes for what no shift explains.
#
# ![The tokenizer](../docs/tokenizer.png)

# %%
from genie_tf.stages import train_tokenizer

train_tokenizer(config, live=True);

# %% [markdown]
# ## A film through the tokenizer
#
# Only the first frame is given. Each picture is then made from the picture before, so errors could grow. They do not, because the
# encoder sees the own picture too and corrects it.

# %%
from genie_tf.lessons import tokens

tokens.reconstruction(config)

# %% [markdown]
# ## What a token sees
#
# Replace one token by another code, decode, and look where the picture changes. A shift moves the whole picture. A code of the grid
# changes its own square and a little around it.

# %%
tokens.changed_tokens(config)

# %% [markdown]
# ## Codes in use
#
# A codebook of which most codes never occur wastes its tokens. With finite scalar quantization (FSQ) there is no codebook to learn:
# a code is a vector that was rounded, coordinate by coordinate.

# %%
tokens.use_of_codes(config)

# %% [markdown]
# ## Where the coin gets lost
#
# Mean figures hide small things. These are pieces of held-out frames with the small things of the game, enlarged, and the same pieces
# from tokens. `tokenizer.psnr_moving` measures such pixels alone.

# %%
tokens.small_things(config)

# %% [markdown]
# ## Families and quantizers, side by side
#
# Each of these tokenizers was trained here for 300 steps, and is then forgotten. `conv` encodes every frame by itself, and `st_vivit`
# is the paper's transformer. `vector`, `finite_scalar` and `lookup_free` are ways to round a vector to a code. A short training favours
# the small model. `docs/results.md` has the long ones.

# %%
tokens.families(
    config,
    {
        "conv, finite scalar": {"kind": "conv"},
        "conv, vector": {"kind": "conv", "quantizer": {"kind": "vector"}},
        "conv, lookup-free": {"kind": "conv", "quantizer": {"kind": "lookup_free"}},
        "st_vivit": {"kind": "st_vivit"},
    },
    steps=300,
)

# %% [markdown]
# Next: [4. Dynamics](4_dynamics.ipynb)
