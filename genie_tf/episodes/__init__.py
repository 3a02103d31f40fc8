"""Where frames come from, and how they are kept. No other folder knows a game.

A source of frames, a game, has these attributes:

- `Settings`: the dataclass of its settings, the section `record`.
- `check(settings)`: raises the error of an invalid setting. A static method.
- `count_actions(settings)`: number of its actions. A static method.
- `default_controls(settings)`: the controls of the game, a dict from names to actions. A static method.
- `colours(settings)`: small things that a player has to see, a dict from names to their lowest and highest colour (red, green,
  blue). The evaluation measures the tokenizer on them. Empty if nothing is known by its colour. A static method.
- `(settings, levels, environments, seed, threads)`: makes `environments` copies that are played at once, on levels drawn from
  `levels`, the first level and their number.
- `observe()`: a dict of rewards `reward` float (E,) of the last step, and `first` bool (E,), whether it began a new episode.
- `frames()`: the current frames, uint8 (E, H, W, 3).
- `levels()`: the current levels, int (E,).
- `act(actions)`: plays actions int (E,) for one step.
- `get_state()`, `set_state(state)`: go back to a moment. `observe` must be called before `frames` after `set_state` and `act`.
- `close()`: ends the game.
- `steps_per_second`: the speed at which a person plays it.
"""

SOURCES = {
    "procgen": "genie_tf.episodes.procgen_game:ProcgenGame",
    "gymnasium": "genie_tf.episodes.gymnasium_game:GymnasiumGame",
}
