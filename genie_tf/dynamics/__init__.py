"""Dynamics models, by kind: they predict the tokens of the next frame from past tokens and actions.

A dynamics model has these attributes:

- `Settings`: the dataclass of its settings.
- `from_settings(settings, codes, tokens, actions, context)`: makes the model for a codebook size, tokens per frame, number of
  actions, and, if the tokens change the picture before, `frame_size` and `grid` of these pictures.
- `needs_vectors`: whether `from_settings` has one more argument, `vectors`: what the tokenizer's `vectors()` returns.
- `examples(recording, films, actions, settings, codes)`: its training examples. `stages.tokenized` makes the films.
- `call`: returns a dict of outputs that contains `loss`.
- `empty_past`, `extend`, `sample`: for play. The last two get the picture before the frame, if the model has a context.
- `noise_shape(steps)`: shape of the uniform random numbers that `sample` takes for each row.
- `tokens`, `codes`, `actions`, `no_action`: tokens per frame, codebook size, number of actions, and the value for "no action".
"""

KINDS = {
    "maskgit": "genie_tf.dynamics.maskgit:MaskGitDynamics",
    "causal": "genie_tf.dynamics.causal:CausalDynamics",
    "diffusion": "genie_tf.dynamics.diffusion:DiffusionDynamics",
}
"""`maskgit`: all tokens of a frame in a few steps. `causal`: one token after another, each given all before it. `diffusion`: the
vectors that the tokens stand for, from noise in a few steps."""
