"""Where dlib's model files are installed."""

from importlib.util import find_spec
from pathlib import Path

from merflow.errors import InputError


def dlib_model(name: str) -> str:
    """Path of one of dlib's models in the package face_recognition_models.

    The package is located, not imported: its import loads pkg_resources, which is slow and warns.

    Raises:
        InputError: the model is not installed.
    """
    package = find_spec("face_recognition_models")
    file = Path(package.origin).parent / "models" / name if package is not None and package.origin else None
    if file is None or not file.is_file():
        raise InputError(
            f"the model {name} is not installed: pip install face-recognition-models "
            "(it holds dlib's models and must be installed in the Python that runs merflow)"
        )
    return str(file)
