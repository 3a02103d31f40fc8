"""Tokenizers, by kind: they convert frames to tokens and back.

A tokenizer has these attributes:

- `Settings`: the dataclass of its settings.
- `from_settings(settings, frame_size)`: makes the model for frames of this height and width.
- `examples(recording)`: its training examples.
- `call`: returns a dict of outputs that contains `loss`.
- `encode`: frames → tokens.
- `decode`: tokens → frames.
- `codes`: the size of its codebook.
- `frame_size`: height and width of its frames.
"""

KINDS = {"conv": "genie_tf.tokenizer.conv:ConvTokenizer"}
