"""Tokenizers, by kind: they convert films to tokens and back.

A tokenizer is a `Tokenizer` of `base.py` with these attributes. B is the batch, T the frames of a film, N the tokens of a grid. A
token grid stands for S frames: grid k for the frames k S … k S + S - 1.

- `Settings`: the dataclass of its settings, a `TokenizerSettings` of `losses.py`.
- `needs_actions`: whether it sees the actions between the frames. Then the latent actions are trained before it.
- `from_settings(settings, frame_size, actions)`: makes the model for frames of this height and width, and a number of actions.
- `examples(recording, settings, actions)`: its training examples, films uint8 (n, T, H, W, 3), and beside them the actions
  between the grids if it needs them: `actions` int (R,) of every row. The recording has a row for every grid. A static method.
- `stride`: S.
- `call`: from films uint8 (B, T, H, W, 3), T a multiple of S, to a dict: `reconstruction` float (B, T, H, W, 3) in about
  -0.5 … 0.5, `tokens` int32 (B, T / S, N), and the scalars `perplexity` of the tokens, and those of `ReconstructionLoss` in
  `losses.py`. The tokenizer adds its other losses to `loss`. A tokenizer that needs actions takes a dict of `frames`, the films,
  and `actions` int (B, T / S): action k led from grid k to grid k + 1.
- `memory(batch)`: what it remembers before the first frame: tensors in dicts, lists and tuples; `()` if it converts each frame
  separately. Encoder and decoder share it.
- `encode(frames, memory, led_by)`: from the next S frames, uint8 (B, H, W, 3) if S is 1 and else (B, S, H, W, 3), to a dict:
  `tokens` int32 (B, N), and `memory`, in which the encoder has seen them. `led_by` int32 (B,) is the action that led to the
  frames; a tokenizer that needs no actions does not read it.
- `decode(tokens, memory, led_by)`: from the next tokens int32 (B, N) to a dict: `frames` uint8, of the shape that `encode` takes,
  and `memory`, in which the decoder has shown them.
- `decode_last(tokens, memory, led_by)`: the same with only the last of the S frames, uint8 (B, H, W, 3), which may take less time.
- `remember(tokens, memory, led_by)`: the `memory` of `decode` alone, which may take less time.
- `given`: number of token grids at the start of a film whose frames are remembered as they are, so that tokens do not show them.
- `context(memory)`: the pictures uint8 (B, H, W, 3) that the next tokens change; None if tokens stand for themselves.
- `vectors()`: what its tokens stand for, a list of tables. Each is a pair: the number of places of a grid whose tokens are in it,
  in the order of the places; and a vector for each of these tokens, float32 (K, D). Near vectors stand for similar pictures.
- `codes`, `tokens`: size of its codebook, and N.
- `frame_size`: height and width of its frames.

A film is converted grid by grid: `encode`, then `decode` with the memory after it. This gives what `call` gives: no grid depends on
later frames, and no frame on later grids.
"""

KINDS = {
    "conv": "genie_tf.tokenizer.conv:ConvTokenizer",
    "st_vivit": "genie_tf.tokenizer.st_vivit:STViViTTokenizer",
    "magvit2": "genie_tf.tokenizer.magvit2:MagViT2Tokenizer",
    "delta": "genie_tf.tokenizer.delta:DeltaTokenizer",
}
"""`conv`: a convolutional VQ-VAE that encodes each frame separately. It is fast enough for a CPU. `st_vivit`: the paper's
spatio-temporal transformer, whose tokens depend on the frames before. `magvit2`: causal 3-D convolutions from a blueprint, so
that a token can depend on earlier frames and stand for several. `delta`: few tokens that say only what the frame before and the
action do not tell."""
