"""Train the agent for recordings: PPO on the training levels. It needs extra packages: pip install -r requirements-agent.txt

Writes model/<world>/agent.zip, then prints its returns and those of random agents on 200 held-out levels. An interrupted training
continues from the last saved policy. To record with this agent: ./data_collect.bash --record.agent trained
1.5 M decisions on plain CoinRun: 34 minutes on 2 cores shared with other work, return 8.6 of 10 (random agents 3.5 to 4.8).
Example: python agent_training.py --steps 2000000

--in_dream trains inside the trained world instead, on progress to the right, which the pixels tell. It writes
model/<world>/dream_agent.zip and says how far this agent comes in the real game, beside a random one. Watch it dream:
python dream_play_tf.py --policy model/<world>/dream_agent.zip
"""

from genie_tf.cli import parse, run
from genie_tf.quiet import quiet


def main() -> None:
    options: dict[str, dict] = {
        "steps": {"type": int, "default": 2000000, "help": "decisions to train on, all runs together"},
        "in_dream": {"action": "store_true", "help": "train inside the trained world instead, on progress to the right"},
    }
    config, own = parse(__doc__, options, sections=("record", "dynamics", "play"))
    with quiet():
        from genie_tf.episodes.agents import import_ppo

        import_ppo()
        if own["in_dream"]:
            from genie_tf.play.dream_agent import train_in_dream as train
        else:
            from genie_tf.episodes.agent_training import train_agent as train

    train(config, own["steps"])


if __name__ == "__main__":
    run(main)
