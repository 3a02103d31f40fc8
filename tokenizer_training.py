"""Train the tokenizer, then convert the whole recording to tokens.

Reads record/<world>. Writes model/<world>/VQVAE_Model_<epoch>. An interrupted training continues from there.
Example: python tokenizer_training.py --tokenizer.epochs 30
"""

from genie_tf.cli import DEVICES, parse, run
from genie_tf.hosts import joined
from genie_tf.quiet import quiet


def main() -> None:
    config, own = parse(__doc__, DEVICES, sections=("tokenizer",))
    with quiet():
        from genie_tf.stages import train_tokenizer

    train_tokenizer(config, devices=joined(**own))


if __name__ == "__main__":
    run(main)
