"""Tokenizers, by kind: they convert films to tokens and back.

A tokenizer is a `SelfSupervisedModel` with these attributes. B is the batch, T the frames of a film, N the tokens of a frame.

- `Settings`: the dataclass of its settings, a `TokenizerSettings` of `losses.py`.
- `from_settings(settings, frame_size)`: makes the model for frames of this height and width.
- `examples(recording, settings)`: its training examples, films uint8 (n, T, H, W, 3). A static method.
- `call`: from films uint8 (B, T, H, W, 3) to a dict: `reconstruction` float (B, T, H, W, 3) in about -0.5 … 0.5, `tokens` int32
  (B, T, N), and the scalars `perplexity` of the tokens, and those of `ReconstructionLoss` in `losses.py`. The tokenizer adds its
  other losses to `loss`.
- `memory(batch)`: what it remembers of the frames before the first: tensors in dicts, lists and tuples; `()` if it converts
  each frame separately.
- `encode(frames, memory)`: from the next frames uint8 (B, H, W, 3) to a dict: `tokens` int32 (B, N), and `memory` after them.
- `decode(tokens, memory)`: from the next tokens int32 (B, N) to a dict: `frames` uint8 (B, H, W, 3), and `memory` after them.
- `codes`, `tokens`: size of its codebook, and N.
- `frame_size`: height and width of its frames.

A film that is encoded or decoded frame by frame gives what `call` gives: no frame depends on later ones.
"""

KINDS = {
    "conv": "genie_tf.tokenizer.conv:ConvTokenizer",
    "st_vivit": "genie_tf.tokenizer.st_vivit:STViViTTokenizer",
}
"""`conv`: a convolutional VQ-VAE that encodes each frame separately. It is fast enough for a CPU. `st_vivit`: the paper's
spatio-temporal transformer, whose tokens depend on the frames before."""
