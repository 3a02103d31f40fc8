"""Measure a trained world on levels it has not seen.

Writes model/<world>/evaluation.json, {"name": {"value", "low", "high", "n"}} with 95 % intervals, and pictures beside it.
Example: python dream_evaluate_tf.py --world coinrun_plain
"""

from genie_tf.cli import parse, quiet, run


def main() -> None:
    config, _ = parse(__doc__)
    with quiet():
        from genie_tf.evaluation.evaluate import evaluate

    evaluate(config)


if __name__ == "__main__":
    run(main)
