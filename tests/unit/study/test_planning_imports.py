import subprocess
import sys

from repository import REPO


def test_planning_imports_neither_torch_nor_opencv():
    code = (
        "import sys; from pathlib import Path; from merflow.study.load import load_config;"
        "from merflow.study.plan import plan_study;"
        "plan_study(load_config(Path('config.yaml'), {})).check();"
        "print([name for name in ('cv2', 'dlib', 'h5py', 'numba', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPO)
    assert done.stdout == "[]\n", done.stderr
