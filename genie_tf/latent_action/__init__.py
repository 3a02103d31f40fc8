"""Latent action models, by kind: which of a few actions led from one frame to the next.

A latent action model offers `Settings`, a dataclass; `from_settings(settings)`; `examples(recording, folder, settings)`, what it is
trained on; `call`, which returns `loss` among its outputs; `infer` (frames → latent actions); `code`, the same from what
`transitions(recording, folder)` reads at given rows; `predict_next` (frames, latent actions → next frames); and `codes`, the number
of latent actions. `folder` is where it may keep what it computes once of every frame.
"""

KINDS = {
    "motion_rank": "genie_tf.latent_action.motion_rank:MotionRankModel",
    "st_transformer": "genie_tf.latent_action.st_transformer:STLatentActionModel",
}
FRAMES = 5  # t - 3 … t + 1: what the models see of a transition from t to t + 1
