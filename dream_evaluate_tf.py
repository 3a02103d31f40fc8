"""Measure a trained world on levels it has not seen.

Writes model/<world>/evaluation.json, {"name": {"value", "low", "high", "n"}} with 95 % intervals, and pictures beside it.
Example: python dream_evaluate_tf.py --world coinrun_plain
"""

from genie_tf.cli import parse, quiet, run


def main() -> None:
    options = {"only_latent_action": {"action": "store_true", "help": "only print the latent actions' figures: needs no dynamics"}}
    config, own = parse(__doc__, options)
    with quiet():
        from genie_tf.evaluation.evaluate import evaluate, latent_action_figures, show

    if own["only_latent_action"]:
        show(latent_action_figures(config))
    else:
        evaluate(config)


if __name__ == "__main__":
    run(main)
