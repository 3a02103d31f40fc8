"""Tokenizers, by kind: they convert films to tokens and back.

A tokenizer is a `SelfSupervisedModel` with these attributes. B is the batch, T the frames of a film, N the tokens of a grid. A
token grid stands for S frames: grid k for the frames k S … k S + S - 1.

- `Settings`: the dataclass of its settings, a `TokenizerSettings` of `losses.py`.
- `from_settings(settings, frame_size)`: makes the model for frames of this height and width.
- `examples(recording, settings)`: its training examples, films uint8 (n, T, H, W, 3). A static method.
- `stride`: S.
- `call`: from films uint8 (B, T, H, W, 3), T a multiple of S, to a dict: `reconstruction` float (B, T, H, W, 3) in about
  -0.5 … 0.5, `tokens` int32 (B, T / S, N), and the scalars `perplexity` of the tokens, and those of `ReconstructionLoss` in
  `losses.py`. The tokenizer adds its other losses to `loss`.
- `memory(batch)`: what it remembers of the frames before the first: tensors in dicts, lists and tuples; `()` if it converts
  each frame separately.
- `encode(frames, memory)`: from the next S frames, uint8 (B, H, W, 3) if S is 1 and else (B, S, H, W, 3), to a dict: `tokens` int32
  (B, N), and `memory` after them.
- `decode(tokens, memory)`: from the next tokens int32 (B, N) to a dict: `frames` uint8, of the shape that `encode` takes, and
  `memory` after them.
- `codes`, `tokens`: size of its codebook, and N.
- `frame_size`: height and width of its frames.

A film that is encoded or decoded grid by grid gives what `call` gives: no grid depends on later frames, and no frame on later
grids.
"""

KINDS = {
    "conv": "genie_tf.tokenizer.conv:ConvTokenizer",
    "st_vivit": "genie_tf.tokenizer.st_vivit:STViViTTokenizer",
    "magvit2": "genie_tf.tokenizer.magvit2:MagViT2Tokenizer",
}
"""`conv`: a convolutional VQ-VAE that encodes each frame separately. It is fast enough for a CPU. `st_vivit`: the paper's
spatio-temporal transformer, whose tokens depend on the frames before. `magvit2`: causal 3-D convolutions from a blueprint, so
that a token can depend on earlier frames and stand for several."""
