"""Latent action models, by kind: they infer the latent action between two consecutive frames.

A latent action model has these attributes:

- `Settings`: the dataclass of its settings.
- `from_settings(settings, frame_size)`: makes the model for frames of this height and width.
- `adapt(recording)`, where it has one: called before the training, to find something in the recording.
- `examples(recording, folder, settings)`: its training examples. `folder` may hold values that are computed once for every frame.
- `call`: returns a dict of outputs that contains `loss`.
- `infer`: frames → latent actions.
- `transitions(recording, folder)`: returns a function from rows to the inputs of `code`.
- `code`: these inputs → latent actions.
- `predict_next`: frames, latent actions → next frames.
- `codes`: the number of latent actions.
- `frame_size`: height and width of its frames.

`auto` is no model. It has `Settings` alone, and is replaced by one of the models before the training: see `chosen` in `auto.py`.
"""

KINDS = {
    "auto": "genie_tf.latent_action.auto:Auto",
    "motion_rank": "genie_tf.latent_action.motion_rank:MotionRankModel",
    "avatar": "genie_tf.latent_action.avatar:AvatarModel",
    "hypotheses": "genie_tf.latent_action.hypotheses:HypothesesModel",
    "st_transformer": "genie_tf.latent_action.st_transformer:STLatentActionModel",
}
FRAMES = 5  # frames t - 3 … t + 1 are the input for the transition from t to t + 1
