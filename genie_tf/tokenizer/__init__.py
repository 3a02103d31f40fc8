"""Tokenizers, by kind: frames to tokens, and back.

A tokenizer offers `Settings`, a dataclass; `from_settings(settings)`; `examples(recording)`, what it is trained on; `call`, which
returns `loss` among its outputs; `encode` (frames → tokens), `decode` (tokens → frames), and `codes`, the size of its codebook.
"""

KINDS = {"conv": "genie_tf.tokenizer.conv:ConvTokenizer"}
