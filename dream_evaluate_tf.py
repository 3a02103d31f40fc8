"""Evaluate a trained world on held-out levels.

Writes model/<world>/evaluation.json, {"name": {"value", "low", "high", "n"}} with 95 % confidence intervals, and report.html.
Examples: python dream_evaluate_tf.py --world coinrun_plain; python dream_evaluate_tf.py --compare model/a model/b
"""

from genie_tf.cli import parse, run
from genie_tf.quiet import quiet

OPTIONS: dict[str, dict] = {
    "only_tokenizer": {"action": "store_true", "help": "only the tokenizer: needs no other model"},
    "only_latent_action": {"action": "store_true", "help": "only the latent actions and the judge: needs no dynamics"},
    "protocol": {"choices": ["genieredux"], "help": "use that paper's protocol and print its table for comparison"},
    "compare": {"nargs": "+", "metavar": "model/WORLD", "help": "compare worlds that were measured before; measure nothing"},
    "teacher_forced": {"action": "store_true", "help": "also predict each frame from the true frames before it"},
    "inception_weights": {"help": "InceptionV3's notop .h5 file, for FID; by default Keras downloads it"},
    "video_features": {"help": "file.py:function, from videos uint8 (n, T, 64, 64, 3) to features (n, D), for FVD"},
}


def main() -> None:
    config, own = parse(__doc__, OPTIONS, sections=("judge", "dynamics", "play"))
    with quiet():
        from genie_tf.evaluation import compare, evaluate, genieredux

    if own["compare"]:
        compare.compare(own["compare"])
    elif own["only_tokenizer"]:
        evaluate.evaluate_tokenizer(config)
    elif own["only_latent_action"]:
        evaluate.evaluate_latent_actions(config)
    elif own["protocol"]:
        genieredux.evaluate_genieredux(config, own["inception_weights"])
    else:
        evaluate.evaluate(config, own["teacher_forced"], own["inception_weights"], own["video_features"])


if __name__ == "__main__":
    run(main)
