"""Train the tokenizer, then convert the whole recording to tokens.

Reads record/<world>. Writes model/<world>/VQVAE_Model_<epoch>. An interrupted training continues from there.
Examples:
python tokenizer_training.py --tokenizer.epochs 30
python tokenizer_training.py --ray auto
"""

from genie_tf.cli import DEVICES, parse, run
from genie_tf.hosts import joined
from genie_tf.quiet import quiet

RAY = {
    "ray": {"type": str, "help": "address of a Ray cluster that tokenizes the recording after the training; auto: this machine's"}
}


def main() -> None:
    config, own = parse(__doc__, DEVICES | RAY, sections=("tokenizer",))
    ray = own.pop("ray")
    with quiet():
        from genie_tf.stages import train_tokenizer

    train_tokenizer(config, devices=joined(**own), ray=ray)


if __name__ == "__main__":
    run(main)
