"""Tokenizers, by kind: they convert frames to tokens and back.

A tokenizer has these attributes:

- `Settings`: the dataclass of its settings.
- `from_settings(settings)`: makes the model.
- `examples(recording)`: its training examples.
- `call`: returns a dict of outputs that contains `loss`.
- `encode`: frames → tokens.
- `decode`: tokens → frames.
- `codes`: the size of its codebook.
"""

KINDS = {"conv": "genie_tf.tokenizer.conv:ConvTokenizer"}
