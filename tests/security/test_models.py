"""Model files come from elsewhere: what could run code when it is read is never read."""

import pickle
import shutil
import zipfile

import pytest

from guards.guard import GuardError
from guards.registry import MODELS, load


class Boom:
    def __reduce__(self):
        return (print, ("code ran",))


def _pickle(path):
    path.write_bytes(pickle.dumps(Boom()))


def _archive(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Boom()))


@pytest.mark.parametrize(
    ("name", "write"),
    [("pytorch_model.bin", _archive), ("weights.pt", _archive), ("extra.pkl", _pickle), ("modeling.py", _pickle)],
)
def test_what_can_carry_code_is_refused(tmp_path, capsys, name, write):
    """A guard's folder with a pickle, a zipped pickle or Python in it is refused by name, before anything is loaded."""
    folder = tmp_path / "guard"
    shutil.copytree(MODELS / "default", folder)
    write(folder / name)
    with pytest.raises(GuardError, match=name):
        load("mine", folder)
    assert "code ran" not in capsys.readouterr().out


def test_changed_weights_are_refused(tmp_path):
    """Weights that are not those of their manifest are not loaded."""
    folder = tmp_path / "guard"
    shutil.copytree(MODELS / "default", folder)
    weights = folder / "model.onnx"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    with pytest.raises(GuardError, match="sha256"):
        load("mine", folder)
