"""The pictures of the architecture show the sizes of the models."""

from conftest import ROOT, forget_models
from PIL import Image

from docs import draw

OTHER = (
    "--latent_action.codes", "8", "--tokenizer.cell", "32", "--tokenizer.quantizer.levels", "[7,3]", "--dynamics.width", "64",
    "--dynamics.depth", "2", "--dynamics.window", "3", "--play.sampling_steps", "4",
)  # fmt: skip
SHOWN = {  # with the settings of the demo, and with others
    "overview.png": {
        "(T / 5), each 0 … 5": "(T / 5), each 0 … 7", "(T / 5, 21), each 0 … 1,324": "(T / 5, 9), each 0 … 1,324",
        "2 MaskGIT steps": "4 MaskGIT steps", "3 token grids": "2 token grids",
    },
    "latent_action.png": {"columns: 3 parts, rows: 2": "columns: 4 parts, rows: 2"},
    "tokenizer.png": {
        "21 tokens for 5 frames": "9 tokens for 5 frames", "16 codes\n0 … 999": "4 codes\n0 … 20",
        "levels 8 · 5 · 5 · 5": "levels 7 · 3", "(4, 4, 4)": "(2, 2, 2)",
    },
    "dynamics.png": {
        "(22, 128)": "(10, 64)", "(21, 1,325)": "(9, 1,325)", "4 blocks reach 12": "2 blocks reach 4", "21 fixed": "9 fixed",
    },
}  # fmt: skip


def test_the_pictures_show_the_sizes_of_the_models(tmp_path):
    words, m = draw.main(tmp_path), draw.made(OTHER)
    others = {f"{picture.__name__}.png": picture(m).words() for picture in draw.PICTURES}
    assert set(words) == set(others) == set(SHOWN)
    for name, shown in SHOWN.items():
        assert (ROOT / "docs" / name).exists() and (tmp_path / name).stat().st_size < 200_000
        assert Image.open(tmp_path / name).width == 2 * draw.WIDTH
        for text, other in shown.items():
            assert text in words[name] and text not in others[name], text
            assert other in others[name] and other not in words[name], other
    for model, name in ((m.action, "overview"), (m.tokenizer, "overview"), (m.dynamics, "overview"), (m.dynamics.head, "dynamics")):
        assert f"{model.count_params() / 1e6:.1f} M weights" in others[f"{name}.png"]
    forget_models()
