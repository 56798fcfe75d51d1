"""Write the vector files anew: `PYTHONPATH=.:tests python -m vectors.generate`."""

from pathlib import Path

from . import everything

NATIVE = Path(__file__).parents[1] / "native"

if __name__ == "__main__":
    for old in NATIVE.glob("*.vec"):
        old.unlink()
    for name, text in everything().items():
        (NATIVE / f"{name}.vec").write_text(text, encoding="ascii")
