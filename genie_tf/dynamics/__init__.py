"""Dynamics, by kind: the next frame's tokens, from past tokens and actions.

Dynamics offer `Settings`, a dataclass; `from_settings(settings, codes, tokens, actions)`, sized as the tokenizer and the
actions; `examples(windows, tokens, actions, settings, codes)`, what they are trained on; `call`, which returns `loss`
among its outputs; and for play `empty_past`, `extend`, `sample`, with `no_action`, `tokens`, `codes` and `actions`.
"""

KINDS = {"maskgit": "genie_tf.dynamics.maskgit:MaskGitDynamics"}
