"""Train the dynamics: it predicts the tokens of the next frame from past tokens and actions.

Reads record/<world>, the tokenizer and the latent action model. Writes model/<world>/world_model_<epoch>. An interrupted training
continues from there. The history and the plot beside it have val_shuffled_actions: the validation loss under the
actions of other sequences, divided by the validation loss. Above 1, the actions mean something to the model.
Example: python dream_train_tf.py --dynamics.actions true
"""

from genie_tf.cli import DEVICES, parse, run
from genie_tf.hosts import joined
from genie_tf.quiet import quiet


def main() -> None:
    config, own = parse(__doc__, DEVICES, sections=("dynamics",))
    with quiet():
        from genie_tf.stages import train_world_model

    train_world_model(config, devices=joined(**own))


if __name__ == "__main__":
    run(main)
