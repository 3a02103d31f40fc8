"""Clone an expert through latent actions: train a policy on its recording, map latent actions to keys, and play the real game.

Reads record/<expert> and the latent action model of model/<world>. Writes model/<world>/cloning.png and cloning.json: the share of
solved held-out levels with 50, 100, 200 and 1000 labels. The upper bound is an oracle with all labels; the baseline is random keys.
To make an expert's recording: make agent; python agent_training.py; then
  ./data_collect.bash --world coinrun_plain_expert --record.agent trained --record.policy model/coinrun_plain/agent.zip
Example: python clone_agent.py --expert coinrun_plain_expert
"""

from genie_tf.cli import parse, run
from genie_tf.quiet import quiet

OPTIONS: dict[str, dict] = {
    "expert": {"help": "world whose recording shows the expert (default: <world>_expert)"},
    "seeds": {"type": int, "default": 3, "help": "policies to clone, one seed each"},
    "levels": {"type": int, "default": 200, "help": "held-out levels that each policy plays"},
}


def main() -> None:
    config, own = parse(__doc__, OPTIONS, sections=("clone",))
    with quiet():
        from genie_tf.cloning import clone

    clone(config, own["expert"] or f"{config.world}_expert", own["seeds"], own["levels"])


if __name__ == "__main__":
    run(main)
