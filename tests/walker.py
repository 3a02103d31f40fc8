"""A game of one's own, as a user would write it: `record.game: walker:Walker-v0`. Deterministic, and drawn by NumPy."""

import gymnasium
import numpy as np


class Walker(gymnasium.Env):
    """A square walks over a striped floor to the flag, and jumps. The seed gives the stripes."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}
    action_space = gymnasium.spaces.Discrete(4)
    observation_space = gymnasium.spaces.Discrete(200)

    def __init__(self, render_mode=None, steps=200):
        self.render_mode, self.steps = render_mode, steps

    def get_action_meanings(self):
        return ["NOOP", "LEFT", "RIGHT", "FIRE"]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.stripes = self.np_random.integers(40, 200, (25, 3)).astype(np.uint8).repeat(8, axis=0)
        self.place, self.height, self.time = int(self.np_random.integers(20, 100)), 0, 0
        return self.place, {}

    def step(self, action):
        self.place = int(np.clip(self.place + (0, -4, 4, 0)[action], 4, 195))
        self.height = 12 if action == 3 else max(self.height - 4, 0)
        self.time += 1
        at_flag = self.place >= 190
        return self.place, float(at_flag), at_flag, self.time >= self.steps, {}

    def render(self):
        picture = np.full((120, 200, 3), 20, np.uint8)
        picture[90:] = self.stripes
        picture[70:90, 192:] = (250, 250, 0)
        bottom = 90 - self.height
        picture[bottom - 16 : bottom, max(self.place - 5, 0) : self.place + 5] = (250, 60, 60)
        return picture


gymnasium.register("Walker-v0", entry_point=Walker)
